package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"strings"
	"time"

	"vmsync/tests/lab"
)

// disksContent is what all disks of a machine read as, by target.
type disksContent map[string]*content

// machine is one on the source, and what its disks read as.
type machine struct {
	m     *lab.Machine
	guest bool // live: what its disks read as is known only where a checkpoint is captured
	disks []lab.DiskSpec
	now   disksContent
	// sure is false after a write of which nobody knows whether it was done.
	sure bool
	// captured is what was read last from a checkpoint of a guest.
	captured disksContent
}

func newMachine(ctx context.Context, h *lab.Host, spec lab.MachineSpec) (*machine, error) {
	m, err := h.CreateMachine(ctx, spec)
	if err != nil {
		return nil, err
	}
	s := &machine{m: m, guest: spec.Guest, disks: spec.Disks, now: disksContent{}, sure: true}
	for _, d := range spec.Disks {
		s.now[d.Target] = newContent(d.Size)
	}
	return s, nil
}

// content is what the disks read as now; nil for a guest, which writes when it likes.
func (s *machine) content() disksContent {
	if s.guest {
		return nil
	}
	c := maps.Clone(s.now)
	for name := range c {
		c[name] = c[name].clone()
	}
	return c
}

// apply does writes, on the machine and on what is known of it.
func (s *machine) apply(ctx context.Context, writes []write) error {
	if len(writes) == 0 {
		return nil
	}
	if s.guest {
		return s.inGuest(ctx, writes)
	}
	var commands []lab.DiskCommand
	for i, w := range writes {
		file := fmt.Sprintf("/var/tmp/faults-noise-%d", i)
		if w.kind == noise {
			if err := s.m.Host().WriteFile(file, w.data(), 0o644); err != nil {
				return err
			}
			defer os.Remove(s.m.Host().Path(file))
		}
		commands = append(commands, lab.DiskCommand{Target: w.disk, Command: w.command(file)})
	}
	for _, d := range s.disks {
		commands = append(commands, lab.DiskCommand{Target: d.Target, Command: "flush"})
	}
	s.sure = false
	said, err := s.m.QemuIOBatch(ctx, commands)
	if err != nil {
		return err
	}
	for i, w := range writes {
		if !strings.Contains(said[i], w.done()) {
			return fmt.Errorf("machine %s: %+v: %s", s.m.Name(), w, said[i])
		}
		w.on(s.now[w.disk])
	}
	s.sure = true
	return nil
}

// inGuest writes and deletes files as the writes suggest.
func (s *machine) inGuest(ctx context.Context, writes []write) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var script []string
	for _, w := range writes {
		file := fmt.Sprintf("/mnt/%s/f%d", w.disk, w.seed%6)
		switch w.kind {
		case noise, pattern:
			from := map[writeKind]string{noise: "/dev/urandom", pattern: "/dev/zero"}[w.kind]
			script = append(script, fmt.Sprintf("dd if=%s of=%s bs=4k count=%d", from, file, 1+w.length/4096%512))
		case discard:
			script = append(script, "fstrim /mnt/"+w.disk)
		default:
			script = append(script, "rm -f "+file)
		}
	}
	_, err := s.m.Control(ctx, strings.Join(append(script, "sync"), "; "))
	return err
}

// check compares the machine's own disks with what was written to them, or, where
// that is not known, learns it.
func (s *machine) check(ctx context.Context) error {
	if s.guest {
		return nil
	}
	var flush []lab.DiskCommand
	for _, d := range s.disks {
		flush = append(flush, lab.DiskCommand{Target: d.Target, Command: "flush"})
	}
	if _, err := s.m.QemuIOBatch(ctx, flush); err != nil {
		return err
	}
	for _, d := range s.disks {
		image, err := s.m.DiskPath(ctx, d.Target)
		if err != nil {
			return err
		}
		raw, err := rawOf(ctx, "qcow2", s.m.Host().Path(image))
		if err != nil {
			return err
		}
		if s.sure {
			var diff string
			if diff, err = s.now[d.Target].difference(raw); err == nil && diff != "" {
				err = fmt.Errorf("disk %s of machine %s itself changed: %s", d.Target, s.m.Name(), diff)
			}
		} else {
			s.now[d.Target], err = load(raw, s.now[d.Target])
		}
		raw.Close()
		if err != nil {
			return err
		}
	}
	s.sure = true
	return nil
}
