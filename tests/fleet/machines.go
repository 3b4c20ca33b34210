package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"vmsync/tests/lab"
)

// machine is one of the fleet.
type machine struct {
	*lab.Machine
	name, source string
	policy       string        // in the configuration
	period       time.Duration // how often it is synced, at the longest
}

const mib = int64(1) << 20

// policies are the machines and how they are replicated: each differently.
var policies = []machine{
	{name: "web", source: "hosta", policy: "every: 10s, max_age: 40s, keep: 3", period: 10 * time.Second},
	{name: "database", source: "hosta", policy: "rpo: 20s, quiesce: required, keep: '0'", period: 20 * time.Second},
	{name: "mail", source: "hosta", policy: office + ", compress: 'zstd:3'", period: 30 * time.Second},
	{name: "files", source: "hostc", policy: office, period: 30 * time.Second},
	{name: "build", source: "hostc", policy: "every: 15s, max_age: 90s, min_changed: 1M, min_changed_max_age: 45s, rate: 20M", period: 15 * time.Second},
	{name: "backup", source: "hostc", policy: "cron: '* * * * *', max_age: 150s, transport: ssh, quiesce: 'no', keep: 2", period: time.Minute},
}

// office is how machines of two sources are replicated that belong together.
const office = "group: " + groupName + ", every: 30s, max_age: 90s, keep: 'last=4,hourly=2'"

// makeMachines makes them, with guests. They start with their hosts.
func (f *fleet) makeMachines(ctx context.Context) error {
	for i := range policies {
		m := policies[i]
		made, err := f.lab.Host(m.source).CreateMachine(ctx, lab.MachineSpec{Name: m.name, Guest: true,
			Disks: []lab.DiskSpec{{Target: "vda", Size: 256 * mib}}})
		if err != nil {
			return err
		}
		if _, err := made.Host().Run(ctx, "virsh", "autostart", m.name); err != nil {
			return err
		}
		m.Machine = made
		f.machines = append(f.machines, &m)
		f.say("%s runs on %s: %s", m.name, m.source, m.policy)
	}
	return nil
}

// configText is the service's configuration.
func configText() string {
	var b strings.Builder
	b.WriteString(`version: 1
sources:
  hosta: qemu+ssh://root@hosta/system
  hostc: qemu+ssh://root@hostc/system
retry: {first: 2s, max: 15s}
concurrency: {total: 3, per_source: 2}
notifications: {told: {command: [/usr/bin/tee, -a, ` + toldFile + `]}}
defaults: {store: ` + storeDir + `, notify: [told]}
machines:
`)
	for _, m := range policies {
		fmt.Fprintf(&b, "  - {name: %s, source: %s, %s}\n", m.name, m.source, m.policy)
	}
	return b.String()
}

// write has the guests write until ctx ends. A guest that was off writes on when it is
// back, as a service in it would.
func (f *fleet) write(ctx context.Context) {
	var g errgroup.Group
	for _, m := range f.machines {
		g.Go(func() error {
			for i := 0; ctx.Err() == nil; i++ {
				call, cancel := context.WithTimeout(ctx, 20*time.Second)
				// Whether it works is the guest's own matter: its host may be down.
				_, _ = m.Guest(call, "sh", "-c", fmt.Sprintf("dd if=/dev/urandom of=/mnt/vda/f%d bs=64k count=%d && sync", i%20, 4+i%13))
				cancel()
				wait(ctx, 2*time.Second)
			}
			return nil
		})
	}
	_ = g.Wait()
}

// wait waits, and tells whether ctx goes on.
func wait(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
