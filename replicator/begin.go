package replicator

import (
	"errors"
	"fmt"
	"slices"

	"vmsync/internal/event"
)

// What runs on a source have in common, wherever its stream goes.

// beginRequest asks the source for what the plan says.
func beginRequest(p *Plan, compress string) BeginRequest {
	req := BeginRequest{Checkpoint: p.Checkpoint, Parent: p.Parent, Adopt: p.Adopt, Forget: p.Forget, Compress: compress}
	for _, d := range p.Disks {
		b := BeginDisk{Name: d.Name}
		if d.Incremental {
			b.Parent = p.Parent
		}
		req.Disks = append(req.Disks, b)
	}
	return req
}

// parentUnusable says whether Begin failed because the plan's parent is of no use,
// so that whole disks are to be sent, and tells why.
func parentUnusable(out event.Sink, p *Plan, err error) (why string, unusable bool) {
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Kind != KindCheckpointInconsistent || p.Parent == "" {
		return "", false
	}
	why = fmt.Sprintf("the dirty bitmaps of checkpoint %s are gone or damaged (qemu was killed, or the image was replaced)", p.Parent)
	out.Emit(event.Warning{Message: why + "; comparing whole disks", Disk: e.Disk})
	return why, true
}

// tellBegun tells what the state will lack.
func tellBegun(out event.Sink, b *Begun) {
	if b.Warning != "" {
		out.Emit(event.Warning{Message: b.Warning})
	}
	for _, w := range b.Warnings {
		out.Emit(event.Warning{Message: w})
	}
}

// sameDisks checks that what the source exports is what the plan says.
func sameDisks(domain string, p *Plan, b *Begun) error {
	for i, d := range p.Disks {
		if i >= len(b.Disks) || b.Disks[i] != (BegunDisk{Name: d.Name, Size: d.Size, Incremental: d.Incremental}) {
			return &Error{Kind: KindChanged, Domain: domain, Disk: d.Name, Op: "compare the export with the plan",
				Hint: "run it again",
				Err:  errors.New("the disk changed (resized, or plugged) while the run began")}
		}
	}
	return nil
}

func leftOutNames(p *Plan) []string {
	var names []string
	for _, l := range p.LeftOut {
		names = append(names, l.Name)
	}
	return names
}

// sumUp adds what the stream carried to a summary.
func sumUp(s *event.Summary, p *Plan, sent *StreamResult) {
	for _, d := range sent.Disks {
		kind := event.KindFull
		if i := slices.IndexFunc(p.Disks, func(p PlanDisk) bool { return p.Name == d.Name }); i >= 0 {
			kind = p.Disks[i].Kind()
		}
		s.Disks = append(s.Disks, event.DiskSummary{Disk: d.Name, Kind: kind, ChangedBytes: d.DataBytes + d.ZeroBytes, ZeroBytes: d.ZeroBytes})
		s.ChangedBytes += d.DataBytes + d.ZeroBytes
		s.ZeroBytes += d.ZeroBytes
	}
}

// tellCleaned tells what an end found of dead runs.
func tellCleaned(out event.Sink, end string, lines []string) {
	for _, l := range lines {
		out.Emit(event.Notice{Message: end + ": cleaned up after an earlier run: " + l})
	}
}

func tellLeftOut(out event.Sink, p *Plan) {
	for _, l := range p.LeftOut {
		if l.Notable {
			out.Emit(event.Warning{Message: fmt.Sprintf("disk %s is not replicated: %s", l.Name, l.Reason), Disk: l.Name})
		}
	}
}

func tellFull(out event.Sink, p *Plan) {
	for _, d := range p.Disks {
		switch d.Kind() {
		case event.KindFull:
			out.Emit(event.Notice{Message: fmt.Sprintf("disk %s: full copy (%s)", d.Name, d.Reason)})
		case event.KindResync:
			out.Emit(event.Notice{Message: fmt.Sprintf("disk %s: compared block by block (%s)", d.Name, d.Reason)})
		}
	}
}

// tellOtherPairs tells, when a replica is first made, of checkpoints that belong to
// other replicas: one whose store is lost would otherwise keep its bitmaps on the
// source for ever, and nobody but a person can know that it is.
func tellOtherPairs(out event.Sink, src *SourceView, pair string) {
	for _, c := range src.Checkpoints {
		if p, _, ok := ParseCheckpointName(c.Name); ok && p != pair {
			out.Emit(event.Notice{Message: fmt.Sprintf("checkpoint %s belongs to another replica of this machine; if that replica is gone: virsh checkpoint-delete %s %s",
				c.Name, src.Name, c.Name)})
		}
	}
}
