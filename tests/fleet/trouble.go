package main

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
)

// trouble is something that goes wrong for a while.
type trouble struct {
	name  string
	at    float64 // part of the time
	lasts time.Duration
	begin func(ctx context.Context, f *fleet) error
	end   func(ctx context.Context, f *fleet) error
}

// troubles come one after the other.
var troubles = []trouble{
	{"hosta crashes", 0.15, 45 * time.Second,
		func(ctx context.Context, f *fleet) error { return f.lab.Host("hosta").Crash(ctx) },
		func(ctx context.Context, f *fleet) error {
			h := f.lab.Host("hosta")
			if err := h.Boot(ctx); err != nil {
				return err
			}
			if err := h.Link(ctx, true); err != nil {
				return err
			}
			// What starts at boot where libvirtd does: the lab's hosts start it when asked.
			_, err := h.Run(ctx, "systemctl", "start", "libvirtd")
			return err
		}},
	{"hostc cannot be reached", 0.42, time.Minute,
		func(ctx context.Context, f *fleet) error { return f.lab.Host("hostc").Link(ctx, false) },
		func(ctx context.Context, f *fleet) error { return f.lab.Host("hostc").Link(ctx, true) }},
	{"the target's disk is full", 0.68, time.Minute,
		func(_ context.Context, f *fleet) error { return f.target.Fill(storeDir, 64<<10) },
		func(_ context.Context, f *fleet) error { return f.target.Unfill(storeDir) }},
}

// disturb lets all that is to go wrong go wrong.
func (f *fleet) disturb(ctx context.Context, length time.Duration) error {
	began := time.Now()
	for _, t := range troubles {
		if !wait(ctx, time.Until(began.Add(time.Duration(t.at*float64(length))))) {
			return nil
		}
		f.say("%s", t.name)
		if err := t.begin(ctx, f); err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
		if !wait(ctx, t.lasts) {
			return nil
		}
		if err := t.end(ctx, f); err != nil {
			return fmt.Errorf("end of: %s: %w", t.name, err)
		}
		f.say("over: %s", t.name)
	}
	return nil
}

// watchThrough looks at everything once a second while it is disturbed.
func (f *fleet) watchThrough(ctx context.Context, length time.Duration) ([]sample, error) {
	ctx, cancel := context.WithTimeout(ctx, length)
	defer cancel()
	var g errgroup.Group
	g.Go(func() error { return f.disturb(ctx, length) })
	var samples []sample
	for wait(ctx, time.Second) {
		all, err := f.look(ctx)
		if err != nil && ctx.Err() == nil {
			cancel()
			return nil, err
		}
		samples = append(samples, all...)
	}
	return samples, g.Wait()
}
