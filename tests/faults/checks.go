package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"vmsync/tests/lab"
)

// compare compares every state that a replica lists with the truth, byte for byte.
func (p *pair) compare(ctx context.Context, r *replica) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(2)
	for _, s := range r.states {
		want, err := p.truth.state(s)
		if err != nil {
			return err
		}
		if len(s.images) != len(want) {
			return fmt.Errorf("state %s has %d disks, the machine had %d", s.id, len(s.images), len(want))
		}
		for disk, image := range s.images {
			g.Go(func() error {
				if err := compare(ctx, image, want[disk]); err != nil {
					return fmt.Errorf("disk %s of state %s (checkpoint %s, image %s): %w", disk, s.id, s.checkpoint, filepath.Base(image), err)
				}
				return nil
			})
		}
	}
	return g.Wait()
}

// compare compares what an image reads as with what it must.
func compare(ctx context.Context, image string, want *content) error {
	if want == nil {
		return errors.New("the machine has no such disk")
	}
	raw, err := rawOf(ctx, "qcow2", image)
	if err != nil {
		return err
	}
	defer raw.Close()
	diff, err := want.difference(raw)
	if err == nil && diff != "" {
		err = errors.New("WRONG BYTES: " + diff)
	}
	return err
}

// check checks a replica that was synced without a fault.
func (p *pair) check(ctx context.Context, h *lab.Host) error {
	r, err := openReplica(ctx, h, p.plan.store, p.plan.domain)
	if err != nil || r == nil {
		return err
	}
	defer r.close()
	p.learn(r)
	if err := p.compare(ctx, r); err != nil {
		return err
	}
	if debris, err := r.debris(); err != nil || len(debris) > 0 {
		return errors.Join(err, fmt.Errorf("left behind: %s", strings.Join(debris, "; ")))
	}
	if r.head() == nil {
		return nil
	}
	return p.boots(ctx, h, *r.head())
}

// boots checks that the replica's domain would boot from what the head reads as.
func (p *pair) boots(ctx context.Context, h *lab.Host, head state) error {
	want, err := p.truth.state(head)
	if err != nil {
		return err
	}
	domain := h.Machine(p.plan.domain)
	if state, err := domain.State(ctx); err != nil || state != "shut off" {
		return errors.Join(err, fmt.Errorf("the domain is %q", state))
	}
	for disk := range head.images {
		image, err := domain.DiskPath(ctx, disk)
		if err != nil {
			return err
		}
		if err := compare(ctx, h.Path(image), want[disk]); err != nil {
			return fmt.Errorf("disk %s, which the domain would boot from: %w", disk, err)
		}
	}
	return nil
}

// nothingLeft checks that no run left anything on any host but replicas and the
// checkpoints that they build on. A killed agent's guard, and libvirt after an abort,
// finish on their own, for which there is a limit.
func (c *campaign) nothingLeft(ctx context.Context, s *scene, limit time.Duration) error {
	var left []string
	err := eventually(ctx, limit, "nothing is left behind", func() (bool, error) {
		var err error
		left, err = c.leftovers(ctx, s)
		return err == nil && len(left) == 0, err
	})
	if err != nil && len(left) > 0 {
		err = fmt.Errorf("left behind: %s", strings.Join(left, "; "))
	}
	return err
}

// Where runs keep things, on either host.
var places = []string{"/run/vmsync/source/*", "/run/vmsync/target/*", "/run/vmsync/frozen/*", "/run/vmsync/pending/*", "/run/vmsync/export/*",
	"/var/lib/libvirt/qemu/domain-*/vmsync*", lab.ImageDir + "/*.scratch", smallImages + "/*.scratch", "/var/tmp/vmsync*"}

func (c *campaign) leftovers(ctx context.Context, s *scene) ([]string, error) {
	left, err := c.strays(ctx)
	if err != nil {
		return nil, err
	}
	for _, h := range c.lab.Hosts() {
		for _, pattern := range places {
			names, err := filepath.Glob(h.Path(pattern))
			if err != nil {
				return nil, err
			}
			for _, n := range names {
				left = append(left, h.Name()+":"+strings.TrimPrefix(n, strings.TrimSuffix(h.Path("/"), "/")))
			}
		}
	}
	for _, m := range s.machines {
		if out, err := c.hosta.Run(ctx, "virsh", "domjobinfo", m.m.Name()); err == nil && !strings.Contains(out, "None") {
			left = append(left, "a job on "+m.m.Name())
		}
		got, err := c.hosta.Run(ctx, "virsh", "checkpoint-list", "--name", m.m.Name())
		if err != nil {
			return nil, err
		}
		if names, want := strings.Fields(got), s.heads(m); !slices.Equal(slices.Sorted(slices.Values(names)), want) {
			left = append(left, fmt.Sprintf("checkpoints %v of %s instead of %v", names, m.m.Name(), want))
		}
	}
	return left, nil
}

// strays names processes of vmsync that run on any host. They are known by the
// program's name: a machine's qemu may have any of these in its arguments.
func (c *campaign) strays(ctx context.Context) ([]string, error) {
	var left []string
	for _, h := range c.lab.Hosts() {
		out, err := h.Run(ctx, "ps", "-e", "-o", "comm=")
		if err != nil {
			return nil, err
		}
		for program := range strings.Lines(out) {
			switch program = strings.TrimSpace(program); program {
			case "vmsync", "vmsync-nbd", "qemu-nbd", "qemu-img":
				left = append(left, program+" on "+h.Name())
			}
		}
	}
	return left, nil
}

// heads names the checkpoints that the replicas of a machine build on.
func (s *scene) heads(m *machine) []string {
	var names []string
	for _, p := range s.pairs {
		if p.machine == m && p.newest > 0 {
			names = append(names, p.head)
		}
	}
	slices.Sort(names)
	return names
}

// unharmed checks that a machine can go on.
func (c *campaign) unharmed(ctx context.Context, m *machine) error {
	out, err := c.hosta.Run(ctx, "virsh", "domstate", "--reason", m.m.Name())
	if err != nil {
		return err
	}
	state := strings.TrimSpace(out)
	if strings.Contains(state, "I/O error") || !strings.HasPrefix(state, "running") && !strings.HasPrefix(state, "paused") {
		return fmt.Errorf("machine %s is %s", m.m.Name(), state)
	}
	if !m.guest {
		return nil
	}
	if !strings.HasPrefix(state, "running") {
		return fmt.Errorf("guest %s is %s", m.m.Name(), state)
	}
	if err := c.thawed(ctx, m); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	_, err = m.m.Control(ctx, "echo alive >/mnt/vda/alive && sync")
	return err
}

// thawed waits until a guest is not frozen.
func (c *campaign) thawed(ctx context.Context, m *machine) error {
	return eventually(ctx, 30*time.Second, "the guest is thawed", func() (bool, error) {
		out, err := c.hosta.Run(ctx, "virsh", "qemu-agent-command", m.m.Name(), `{"execute":"guest-fsfreeze-status"}`)
		return err == nil && strings.Contains(out, "thawed"), err
	})
}
