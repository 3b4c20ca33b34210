package replicator

import (
	"fmt"
	"slices"
)

// DecideReceive says what to prepare on the target for a stream. It is a pure
// function. It refuses, with an [*Error], a stream that does not fit onto what the
// store holds: an empty replica takes a full stream and its pair; one that has states
// takes what is newer than its head and of its pair, and builds on exactly that head
// or on nothing.
func DecideReceive(in *Incoming, dst *TargetView) (*PrepareRequest, error) {
	refuse := func(kind, disk, hint, format string, args ...any) (*PrepareRequest, error) {
		return nil, &Error{Kind: kind, Domain: in.Domain, Disk: disk, Op: "compare the stream with the replica",
			Hint: hint, Err: fmt.Errorf(format, args...)}
	}
	req := &PrepareRequest{Generation: in.Generation, Domain: in.Domain, Checkpoint: in.Checkpoint, Parent: in.Parent, Disks: in.Disks}
	head := dst.Head
	const otherName = "receive it under another --target-domain or into another --store"
	switch {
	case dst.UUID != "" && dst.UUID != in.State.Source.UUID:
		return refuse(KindOtherMachine, "", otherName,
			"%s holds the replica of another machine (UUID %s, the stream is of %s)", dst.Folder, dst.UUID, in.State.Source.UUID)
	case head == nil && in.Parent != "":
		return refuse(KindParentMissing, "", "receive first the stream that brings "+in.Parent+", or send a full one: vmsync send "+in.Domain,
			"the stream builds on %s, and the replica is empty", in.Parent)
	case head == nil:
		req.Adopt = true
		return req, nil
	case dst.Pair != in.Pair:
		return refuse(KindOtherReplica, "", otherName+"; what fits this one: "+nextSend(in.Domain, head),
			"the stream belongs to another replica of this machine (%s; the head in %s is %s)", in.Checkpoint, dst.Folder, head.Checkpoint)
	case in.Generation == head.Generation:
		return refuse(KindHeld, "", "nothing needs to be done", "the replica already has it: its head is %s", head.Checkpoint)
	case in.Generation < head.Generation:
		return refuse(KindHeld, "", "nothing needs to be done", "the replica is already past %s: its head is %s", in.Checkpoint, head.Checkpoint)
	case in.Parent != "" && in.Parent != head.Checkpoint:
		return refuse(KindParentMissing, "", "receive the streams in the order they were sent; what fits the head: "+nextSend(in.Domain, head),
			"the stream builds on %s, and the replica's head is %s", in.Parent, head.Checkpoint)
	}
	if head.Damaged != "" && in.Parent != "" {
		return refuse(KindDamaged, "", "send whole disks: "+nextSend(in.Domain, head)+" --full",
			"the stream builds on %s, and what the store holds of it is damaged: %s", in.Parent, head.Damaged)
	}
	for _, d := range in.Disks {
		held := slices.IndexFunc(head.Disks, func(h HeadDisk) bool { return h.Name == d.Name })
		switch {
		case !d.Incremental:
		case held < 0:
			return refuse(KindParentMissing, d.Name, "send whole disks: "+nextSend(in.Domain, head)+" --full",
				"the stream brings changes of this disk, and the replica's head does not hold it")
		case head.Disks[held].Size != d.Size:
			return refuse(KindParentMissing, d.Name, "send whole disks: "+nextSend(in.Domain, head)+" --full",
				"the disk was resized from %d to %d bytes", head.Disks[held].Size, d.Size)
		}
	}
	if err := refuseLosing(in.Domain, dst, in.plan().LeftOut); err != nil {
		return nil, err
	}
	return req, nil
}

// nextSend is the command that makes the stream which fits onto a head.
func nextSend(domain string, head *Head) string {
	return fmt.Sprintf("vmsync send %s --since %s", domain, head.Checkpoint)
}
