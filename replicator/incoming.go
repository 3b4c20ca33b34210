package replicator

import (
	"errors"
	"fmt"

	"vmsync/nbdproxy/stream"
)

// Incoming is what the header of a stream says that arrives without its source.
type Incoming struct {
	Domain     string // on the source
	Checkpoint string
	Pair       string // of the checkpoint
	Generation int64
	Parent     string // checkpoint that incremental disks build on; empty if there are none
	Disks      []PrepareDisk
	State      *StreamState
}

// NewIncoming reads a header, which may come from anybody. It refuses, with an error
// of KindStream, one that describes no state or contradicts itself.
func NewIncoming(h *stream.Header) (*Incoming, error) {
	in := &Incoming{Domain: h.Domain, Checkpoint: h.Checkpoint, Parent: h.Parent}
	if err := in.read(h); err != nil {
		return nil, &Error{Kind: KindStream, Domain: h.Domain, Op: "read the stream's header", Err: err,
			Hint: "nothing was changed; is this what vmsync send wrote?"}
	}
	return in, nil
}

func (in *Incoming) read(h *stream.Header) (err error) {
	var ok bool
	if in.Pair, in.Generation, ok = ParseCheckpointName(h.Checkpoint); !ok {
		return fmt.Errorf("%q is not the name of a checkpoint of vmsync", h.Checkpoint)
	}
	if h.Parent != "" {
		pair, generation, ok := ParseCheckpointName(h.Parent)
		if !ok || pair != in.Pair || generation >= in.Generation {
			return fmt.Errorf("checkpoint %s cannot build on %q", h.Checkpoint, h.Parent)
		}
	}
	if h.State == nil {
		return errors.New("the stream does not describe its state: it was not made to be received without its source")
	}
	if in.State, err = ParseStreamState(h.State); err != nil {
		return err
	}
	for _, d := range h.Disks {
		if !in.State.defines(d.Name) {
			return fmt.Errorf("the domain's definition in the stream has no disk %q", d.Name)
		}
		if d.Incremental && h.Parent == "" {
			return fmt.Errorf("disk %q is incremental, but the stream does not say to what", d.Name)
		}
		in.Disks = append(in.Disks, PrepareDisk{Name: d.Name, Size: d.Size, Incremental: d.Incremental})
	}
	return nil
}

// plan is what the stream does, as a run's plan says it.
func (in *Incoming) plan() *Plan {
	p := &Plan{Generation: in.Generation, Checkpoint: in.Checkpoint, Parent: in.Parent}
	for _, d := range in.Disks {
		p.Disks = append(p.Disks, PlanDisk{Name: d.Name, Size: d.Size, Incremental: d.Incremental})
	}
	for _, name := range in.State.LeftOut {
		p.LeftOut = append(p.LeftOut, LeftOut{Name: name, Reason: "it was left out when the stream was sent"})
	}
	return p
}
