package remote

import (
	"context"
	"slices"
	"testing"
	"time"

	"vmsync/replicator"
)

// stepped is an end whose backup begins in steps.
type stepped struct {
	end
	took []string
}

func (s *stepped) did(what string) error { s.took = append(s.took, what); return nil }

func (s *stepped) Ready(_ context.Context, r replicator.BeginRequest) error {
	return s.did("ready " + r.Checkpoint)
}
func (s *stepped) Freeze(context.Context) error     { return s.did("freeze") }
func (s *stepped) Checkpoint(context.Context) error { return s.did("checkpoint") }
func (s *stepped) Release(context.Context) error    { return s.did("release") }
func (s *stepped) Thaw(context.Context) (*replicator.Begun, error) {
	return &replicator.Begun{StoodStill: true, Frozen: time.Second}, s.did("thaw")
}

func TestBeginInStepsReachesTheSource(t *testing.T) {
	s := &stepped{end: end{closed: make(chan struct{})}}
	conn, _ := connectToEnd(t, s)
	src := Source{conn}
	for _, step := range []func(context.Context) error{
		func(ctx context.Context) error { return src.Ready(ctx, replicator.BeginRequest{Checkpoint: "cp"}) },
		src.Freeze, src.Checkpoint, src.Release,
	} {
		if err := step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if b, err := src.Thaw(t.Context()); err != nil || !b.StoodStill || b.Frozen != time.Second {
		t.Errorf("%+v, %v", b, err)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	if want := []string{"ready cp", "freeze", "checkpoint", "release", "thaw"}; !slices.Equal(s.took, want) {
		t.Errorf("%q", s.took)
	}
}
