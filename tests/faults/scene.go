package main

import (
	"context"
	"errors"
	"fmt"

	"vmsync/tests/lab"
)

// scene is what some rounds share: machines on the source and their replicas.
type scene struct {
	plan     scenePlan
	machines []*machine
	pairs    []*pair
}

// pair is a machine's replica.
type pair struct {
	plan    pairPlan
	machine *machine
	truth   truth
	newest  int64  // generation of the head; 0: there is none
	head    string // its checkpoint
	// tracked says that the source has tracked all changes since the head.
	tracked bool
}

// learn takes what the manifest says.
func (p *pair) learn(r *replica) {
	p.truth.learn(r)
	p.newest, p.head = 0, ""
	if h := r.head(); h != nil {
		p.newest, p.head = h.generation, h.checkpoint
	}
}

// set makes a scene.
func (c *campaign) set(ctx context.Context, plan scenePlan) (*scene, error) {
	s := &scene{plan: plan}
	if plan.smallSource {
		if err := c.hosta.SmallFS(ctx, smallImages, smallSize); err != nil {
			return nil, err
		}
	}
	if plan.smallTarget {
		if err := c.hostb.SmallFS(ctx, smallStore, smallSize); err != nil {
			return nil, err
		}
	}
	for _, spec := range plan.machines {
		m, err := newMachine(ctx, c.hosta, spec)
		if err != nil {
			return nil, fmt.Errorf("make machine %s: %w", spec.Name, err)
		}
		s.machines = append(s.machines, m)
	}
	for _, p := range plan.pairs {
		s.pairs = append(s.pairs, &pair{plan: p, machine: s.machines[p.machine]})
	}
	return s, nil
}

// strike takes a scene down, with its replicas.
func (c *campaign) strike(ctx context.Context, s *scene) error {
	var errs []error
	for _, m := range s.machines {
		errs = append(errs, m.m.Remove(ctx))
	}
	for _, p := range s.pairs {
		// A replica that was never synced is not defined, which is fine.
		_, _ = c.hostb.Run(ctx, "virsh", "undefine", p.plan.domain)
		_, err := c.hostb.Run(ctx, "rm", "-rf", "--", p.plan.store+"/"+p.plan.domain)
		errs = append(errs, err)
	}
	if s.plan.smallSource {
		errs = append(errs, unmount(ctx, c.hosta, smallImages))
	}
	if s.plan.smallTarget {
		errs = append(errs, unmount(ctx, c.hostb, smallStore))
	}
	return errors.Join(errs...)
}

func unmount(ctx context.Context, h *lab.Host, dir string) error {
	_, err := h.Run(ctx, "umount", dir)
	return err
}
