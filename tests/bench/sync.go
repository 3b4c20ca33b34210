package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// synced is a replication that was measured.
type synced struct {
	cost
	transfer time.Duration // of the phase that moves the stream
	phases   string        // how long each took, for people
	sent     int64         // bytes of stream
}

// sync replicates a machine from hosta to hostb, over SSH.
func (b *bench) sync(machine string, args ...string) (synced, error) {
	argv := append([]string{"vmsync", "sync", machine, "--source-uri", "qemu+ssh://root@hosta/system", "--json", "--progress", "none"}, b.syncFlags...)
	out, c, err := b.measured(b.hostb, append(argv, args...)...)
	if err != nil {
		return synced{}, err
	}
	s := synced{cost: c}
	for line := range strings.Lines(out) {
		var e struct {
			Event    string
			Phase    string
			Duration float64 `json:"duration_seconds"`
			Sent     int64   `json:"sent_bytes"`
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			return s, fmt.Errorf("vmsync printed %q: %w", line, err)
		}
		switch e.Event {
		case "phase_finished":
			s.phases += fmt.Sprintf(" %s %.2f s", e.Phase, e.Duration)
			if e.Phase == "transfer" {
				s.transfer = time.Duration(e.Duration * float64(time.Second))
			}
		case "summary":
			s.sent = e.Sent
		}
	}
	if s.transfer == 0 || s.sent == 0 {
		return s, errors.New("vmsync told of no transfer: " + out)
	}
	b.logf("    %d bytes sent;%s", s.sent, s.phases)
	return s, nil
}

// forget removes a machine's replica from hostb and its checkpoints from hosta.
func (b *bench) forget(machine string) error {
	if err := b.hostb.Machine(machine).Remove(b.ctx); err != nil {
		return err
	}
	if _, err := b.hostb.Run(b.ctx, "rm", "-rf", "/var/lib/vmsync/"+machine); err != nil {
		return err
	}
	names, err := b.hosta.Run(b.ctx, "virsh", "checkpoint-list", machine, "--name")
	if err != nil {
		return err
	}
	for _, name := range strings.Fields(names) {
		if _, err := b.hosta.Run(b.ctx, "virsh", "checkpoint-delete", machine, name); err != nil {
			return err
		}
	}
	return nil
}
