// Command bench measures vmsync on the lab's hosts beside nbdcopy in the same
// run, and prints a table. `make bench` runs it. The figures depend on the
// machine; the ratios are what to look at.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"time"

	"vmsync/tests/lab"
)

// rounds is how often each thing is measured; the median counts.
const rounds = 3

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	fmt.Printf("%d cores; %d rounds, medians\n", runtime.NumCPU(), rounds)
	install := map[string]string{}
	for _, p := range []string{"vmsync", "vmsync-nbd"} {
		from, err := filepath.Abs(filepath.Join("bin", p))
		if err != nil {
			return err
		}
		install[from] = "/usr/local/bin/" + p
	}
	l, err := lab.Up(ctx, lab.Config{Name: lab.RandomName(), Owner: true, Hosts: []string{"hosta", "hostb"}, Install: install})
	if err != nil {
		return err
	}
	defer func() {
		if derr := l.Down(); err == nil {
			err = derr
		}
	}()
	b := &bench{ctx: ctx, hosta: l.Host("hosta"), hostb: l.Host("hostb")}
	return b.all()
}

// bench measures one machine, vm1 on hosta.
type bench struct {
	ctx          context.Context
	hosta, hostb *lab.Host
	vm           *lab.Machine
}

func (b *bench) all() error {
	var err error
	b.vm, err = b.hosta.CreateMachine(b.ctx, lab.MachineSpec{Name: "vm1", Disks: []lab.DiskSpec{
		{Target: "vda", Size: 4 << 30}, {Target: "vdb", Size: 1 << 30}}})
	if err != nil {
		return err
	}
	if err := b.fill(); err != nil {
		return err
	}
	var copies, syncs, idles []time.Duration
	for range rounds { // interleaved, so that a slow spell of the machine hits all
		for _, m := range []struct {
			into    *[]time.Duration
			measure func() (time.Duration, error)
		}{{&copies, b.nbdcopy}, {&syncs, b.fullSync}, {&idles, b.idleSync}} {
			took, err := m.measure()
			if err != nil {
				return err
			}
			*m.into = append(*m.into, took)
		}
	}
	nbdcopy, sync, idle := median(copies), median(syncs), median(idles)
	fmt.Printf("\n| what | time | ratio |\n|---|---|---|\n")
	fmt.Printf("| nbdcopy, libvirt's export on hosta to qemu-nbd on hostb, TCP | %.2f s | 1.00 |\n", nbdcopy.Seconds())
	fmt.Printf("| vmsync sync, full: checkpoint, SSH, checksums, commit, define | %.2f s | %.2f |\n", sync.Seconds(), sync.Seconds()/nbdcopy.Seconds())
	fmt.Printf("| vmsync sync, incremental, nothing changed, two disks | %.2f s | %.2f |\n", idle.Seconds(), idle.Seconds()/nbdcopy.Seconds())
	return nil
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

// timed measures a command on a host.
func (b *bench) timed(h *lab.Host, argv ...string) (time.Duration, error) {
	start := time.Now()
	_, err := h.Run(b.ctx, argv...)
	return time.Since(start), err
}
