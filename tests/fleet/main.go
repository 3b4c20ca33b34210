// Command fleet proves the service as an administrator has it: from the packages, six
// machines on two sources are replicated to one target with different policies, for some
// minutes, while their guests write. Meanwhile a source crashes and comes back, a link is
// down for a while and the target's disk is full for a while. Nobody lends a hand.
// `make fleet` runs it.
//
// It fails where a replica got older than promised and the service did not say so within
// one period, or told nobody of it or of its end, where two machines of different sources
// that belong together have no states of one instant, where the service said that a replica is fresher than it is, where a head is
// not byte for byte what the machine held at its checkpoint, and where anything is left
// behind.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"vmsync/tests/lab"
)

func main() {
	minutes := flag.Float64("minutes", 15, "how long guests write")
	packages := flag.String("packages", "bin/package", "`folder` with the deb package")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Stdout, *packages, time.Duration(*minutes*float64(time.Minute)))
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "fleet:", err)
		os.Exit(1)
	}
}

// fleet is all that takes part.
type fleet struct {
	out      io.Writer
	began    time.Time
	lab      *lab.Lab
	target   *lab.Host
	machines []*machine
}

func run(ctx context.Context, out io.Writer, packages string, length time.Duration) (err error) {
	debs, err := filepath.Glob(filepath.Join(packages, "*.deb"))
	if err != nil || len(debs) != 1 {
		return fmt.Errorf("one deb package is needed in %s, there are %d: make package makes it", packages, len(debs))
	}
	f := &fleet{out: out, began: time.Now()}
	f.lab, err = lab.Up(ctx, lab.Config{Name: lab.RandomName(), Owner: true, Hosts: []string{"hosta", "hostc", "hostb"}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.lab.Down()) }()
	f.target = f.lab.Host("hostb")
	if err := f.install(ctx, debs[0]); err != nil {
		return err
	}
	if err := f.makeMachines(ctx); err != nil {
		return err
	}
	if err := f.startService(ctx); err != nil {
		return err
	}
	return f.play(ctx, length)
}

// play lets all of it go on for a while, and judges.
func (f *fleet) play(ctx context.Context, length time.Duration) (err error) {
	defer func() {
		if err != nil {
			f.evidence()
		}
	}()
	if err := f.allReplicated(ctx); err != nil {
		return err
	}
	f.say("all six are replicated; the guests write for %v", length)
	f.began = time.Now()
	writing, stopWriting := context.WithCancel(ctx)
	defer stopWriting()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.write(writing)
	}()
	samples, err := f.watchThrough(ctx, length)
	stopWriting()
	<-done
	if err != nil {
		return err
	}
	rest := time.Now()
	if err := f.settle(ctx); err != nil {
		return err
	}
	if err := f.wholeSet(ctx, rest); err != nil {
		return err
	}
	if err := f.compareAll(ctx); err != nil {
		return err
	}
	if err := f.nothingLeft(ctx); err != nil {
		return err
	}
	told, err := f.told() // the last of it was told when the service ended
	if err != nil {
		return err
	}
	return f.judge(samples, told)
}

// say tells what happens, and when.
func (f *fleet) say(format string, args ...any) {
	fmt.Fprintf(f.out, "%6.1fs  %s\n", time.Since(f.began).Seconds(), fmt.Sprintf(format, args...))
}
