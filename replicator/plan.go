package replicator

import (
	"fmt"
	"slices"
	"strings"

	"vmsync/internal/event"
)

// Options are what the user may ask of one run.
type Options struct {
	// Full asks for whole disks even where an incremental is possible.
	Full bool
	// Resync asks for whole disks to be compared even where an incremental is possible,
	// and for what differs to be sent.
	Resync bool
	// Disks, if not empty, are the only disks to replicate.
	Disks []string
	// Exclude are disks to leave out.
	Exclude []string
}

// PlanDisk is what a plan does with one disk.
type PlanDisk struct {
	Name        string
	Size        int64 // bytes
	Incremental bool
	// Resync has all of the disk looked at, and sent what is not as the head has it.
	Resync bool
	// Reason says why a disk is not incremental.
	Reason string
}

// LeftOut is a disk that a plan does not replicate.
type LeftOut struct {
	Name   string
	Reason string
	// Notable is set where a user might have expected the disk in the replica.
	Notable bool
}

// Plan is what one run will do.
type Plan struct {
	Generation int64
	Checkpoint string
	// Parent is the checkpoint the incremental disks build on; empty when all are full.
	Parent string
	// Adopt holds the parent if libvirt does not know it any more, see [BeginRequest].
	Adopt []string
	Disks []PlanDisk
	// Forget are checkpoints of this pair that serve nothing any more and are
	// deleted before the backup begins.
	Forget []string
	// Drop are checkpoints that serve until the new state is durable and are deleted
	// then.
	Drop    []string
	LeftOut []LeftOut
}

// Kind says in one word what the plan sends: "full", "incremental", "resync" or
// "mixed".
func (p *Plan) Kind() string {
	kind := ""
	for _, d := range p.Disks {
		switch k := d.Kind(); kind {
		case "", k:
			kind = k
		default:
			return event.KindMixed
		}
	}
	return kind
}

// Kind says in one word how the disk is sent.
func (d PlanDisk) Kind() string {
	switch {
	case d.Incremental:
		return event.KindIncremental
	case d.Resync:
		return event.KindResync
	}
	return event.KindFull
}

// WithFull is the same plan with one disk sent in full: what is left to do when what
// the target holds of it turns out to be damaged.
func (p *Plan) WithFull(disk, reason string) *Plan {
	q := *p
	q.Disks = slices.Clone(p.Disks)
	left := false
	for i := range q.Disks {
		if d := &q.Disks[i]; d.Name == disk {
			d.Incremental, d.Resync, d.Reason = false, false, reason
		}
		left = left || q.Disks[i].Incremental
	}
	if !left {
		q.Parent, q.Adopt = "", nil
	}
	return &q
}

// WithoutParent is the same plan with no disk incremental and the parent forgotten at
// once: what is left to do when the parent's bitmaps turn out to be unusable. What the
// head holds is compared with the source block by block instead.
func (p *Plan) WithoutParent(reason string) *Plan {
	q := *p
	q.Parent, q.Adopt = "", nil
	q.Forget = append(slices.Clone(p.Forget), p.Drop...)
	q.Drop = nil
	q.Disks = slices.Clone(p.Disks)
	for i := range q.Disks {
		if q.Disks[i].Incremental {
			q.Disks[i].Incremental, q.Disks[i].Resync = false, true
			q.Disks[i].Reason = reason
		}
	}
	return &q
}

// Decide makes the plan from what is seen on both ends. It is a pure function.
// It refuses, with an [*Error], what must not or cannot be replicated now.
func Decide(src *SourceView, dst *TargetView, opts Options) (*Plan, error) {
	if err := refuse(src, dst); err != nil {
		return nil, err
	}
	fit, leftOut, err := chooseDisks(src, opts)
	if err != nil {
		return nil, err
	}
	if err := refuseLosing(src.Name, dst, leftOut); err != nil {
		return nil, err
	}
	own := ownCheckpoints(src.Checkpoints, dst.Pair)
	parent, whyFull := chooseParent(own, dst.Head, opts)
	orphans := ownCheckpoints(src.Orphans, dst.Pair)
	plan := newPlan(dst.Pair, dst.LastUsed, slices.Concat(own, orphans))
	plan.LeftOut = leftOut
	plan.addDisks(fit, parent, dst.Head, opts, whyFull)
	plan.adoptParent(own)
	for _, c := range slices.Concat(own, orphans) {
		// The head's checkpoint is kept until its successor is durable even when this
		// run is full: should the run fail, the next one can still be incremental.
		if parent != nil && c.Name == parent.Name || dst.Head != nil && c.Name == dst.Head.Checkpoint {
			plan.Drop = append(plan.Drop, c.Name)
		} else {
			plan.Forget = append(plan.Forget, c.Name)
		}
	}
	for _, name := range plan.Adopt {
		if !slices.Contains(plan.Drop, name) {
			plan.Drop = append(plan.Drop, name)
		}
	}
	return plan, nil
}

// newPlan gives the plan a generation that no state and no checkpoint of the pair
// has had.
func newPlan(pair string, lastUsed int64, own []SourceCheckpoint) *Plan {
	plan := &Plan{Generation: lastUsed + 1}
	for _, c := range own {
		plan.Generation = max(plan.Generation, c.Generation+1)
	}
	plan.Checkpoint = CheckpointName(pair, plan.Generation)
	return plan
}

// addDisks decides full or incremental for each disk.
func (p *Plan) addDisks(fit []SourceDisk, parent *SourceCheckpoint, head *Head, opts Options, whyNot string) {
	for _, d := range fit {
		p.Disks = append(p.Disks, planDisk(d, parent, head, opts, whyNot))
	}
	if slices.ContainsFunc(p.Disks, func(d PlanDisk) bool { return d.Incremental }) {
		p.Parent = parent.Name
	}
}

// refuse names the first reason not to replicate at all.
func refuse(src *SourceView, dst *TargetView) error {
	if dst.UUID != "" && dst.UUID != src.UUID {
		return &Error{Kind: KindOtherMachine, Domain: src.Name, Op: "compare both ends",
			Hint: "use another --target-domain or --store for this machine",
			Err:  fmt.Errorf("%s holds the replica of another machine (UUID %s, this one is %s)", dst.Folder, dst.UUID, src.UUID)}
	}
	return refuseSource(src)
}

// jobLostHint is what helps against a job that libvirt has lost the record of.
const jobLostHint = "shut the domain down, restart libvirtd, start the domain: what it changed stays tracked. docs/RELIABILITY.md has a way without that"

// refuseSource says why no backup of the domain can begin now.
func refuseSource(src *SourceView) error {
	if !src.Running {
		return &Error{Kind: KindDomainOff, Domain: src.Name, Op: "look at the source",
			Hint: "start the domain: libvirt backs up only a running or paused one",
			Err:  fmt.Errorf("the domain is %s", src.State)}
	}
	if src.JobLost {
		return &Error{Kind: KindJobActive, Domain: src.Name, Op: "look at the source", Hint: jobLostHint,
			Err: fmt.Errorf("libvirt holds the domain for a %s: it died as one began", src.BusyWith)}
	}
	if src.BusyWith != "" {
		return &Error{Kind: KindJobActive, Domain: src.Name, Op: "look at the source",
			Hint: "wait for it to end, or end it yourself; see: virsh domjobinfo " + src.Name,
			Err:  fmt.Errorf("another job is active on the domain: %s", src.BusyWith)}
	}
	return nil
}

// chooseDisks splits the source's disks into those to replicate and those left
// out, in the source's order.
func chooseDisks(src *SourceView, opts Options) (fit []SourceDisk, leftOut []LeftOut, err error) {
	for _, name := range append(slices.Clone(opts.Disks), opts.Exclude...) {
		if !slices.ContainsFunc(src.Disks, func(d SourceDisk) bool { return d.Name == name }) {
			return nil, nil, &Error{Kind: KindNoDisk, Domain: src.Name, Disk: name, Op: "choose disks",
				Hint: "disks are named by their target device: " + strings.Join(diskNames(src.Disks), ", "),
				Err:  fmt.Errorf("the domain has no such disk")}
		}
	}
	for _, d := range src.Disks {
		asked := slices.Contains(opts.Disks, d.Name)
		switch {
		case slices.Contains(opts.Exclude, d.Name), len(opts.Disks) > 0 && !asked:
			leftOut = append(leftOut, LeftOut{Name: d.Name, Reason: "not chosen"})
		case asked && d.Unfit != "":
			return nil, nil, &Error{Kind: KindDiskUnfit, Domain: src.Name, Disk: d.Name, Op: "choose disks",
				Hint: "leave the disk out, or convert it to qcow2 (compat=1.1) while the domain is off",
				Err:  fmt.Errorf("the disk cannot be replicated: %s", d.Unfit)}
		case d.Unfit != "":
			leftOut = append(leftOut, LeftOut{Name: d.Name, Reason: d.Unfit, Notable: !d.Ignored})
		default:
			fit = append(fit, d)
		}
	}
	if len(fit) > 0 {
		return fit, leftOut, nil
	}
	why := []string{}
	for _, l := range leftOut {
		why = append(why, l.Name+": "+l.Reason)
	}
	if len(why) == 0 {
		why = append(why, "it has none")
	}
	return nil, nil, &Error{Kind: KindNoDisk, Domain: src.Name, Op: "choose disks",
		Hint: "convert a disk to qcow2 (compat=1.1) while the domain is off: qemu-img convert -O qcow2 -o compat=1.1 OLD NEW",
		Err:  fmt.Errorf("the domain has no disk that can be replicated (%s)", strings.Join(why, "; "))}
}

// refuseLosing refuses a run that would take a disk out of the replica which the
// source still has: a state holds all its disks at one instant, so a disk left
// out of this state is gone from the replica.
func refuseLosing(domain string, dst *TargetView, leftOut []LeftOut) error {
	l := losing(dst.Head, leftOut)
	if l == nil {
		return nil
	}
	return &Error{Kind: KindDiskUnfit, Domain: domain, Disk: l.Name, Op: "compare both ends",
		Hint: "to keep a replica of fewer disks, give it another --target-domain or --store",
		Err:  fmt.Errorf("the replica in %s holds this disk and would lose it (%s)", dst.Folder, l.Reason)}
}

// losing finds a disk of the head that is left out.
func losing(head *Head, leftOut []LeftOut) *LeftOut {
	for i, l := range leftOut {
		if head != nil && slices.ContainsFunc(head.Disks, func(h HeadDisk) bool { return h.Name == l.Name }) {
			return &leftOut[i]
		}
	}
	return nil
}

// ownCheckpoints picks one pair's checkpoints.
func ownCheckpoints(all []SourceCheckpoint, pair string) []SourceCheckpoint {
	var own []SourceCheckpoint
	for _, c := range all {
		if p, _, ok := ParseCheckpointName(c.Name); ok && p == pair {
			own = append(own, c)
		}
	}
	return own
}

// chooseParent finds the checkpoint that an incremental can build on, or says
// why there is none. Only the head's own checkpoint will do: it alone tells what
// changed since exactly what the store holds.
func chooseParent(own []SourceCheckpoint, head *Head, opts Options) (*SourceCheckpoint, string) {
	switch {
	case head == nil:
		return nil, "first sync"
	case opts.Full, opts.Resync:
		return nil, "asked for"
	case head.Damaged != "":
		return nil, "what the store holds is damaged: " + head.Damaged
	}
	for i := range own {
		if own[i].Name == head.Checkpoint {
			return &own[i], ""
		}
	}
	return lostParent(head), ""
}

// planDisk decides for one disk: incremental where its changes since the head are
// known; compared with the head where they are not; full where there is nothing to
// compare with.
func planDisk(d SourceDisk, parent *SourceCheckpoint, head *Head, opts Options, whyNot string) PlanDisk {
	p := PlanDisk{Name: d.Name, Size: d.Size}
	held := -1
	if head != nil {
		held = slices.IndexFunc(head.Disks, func(h HeadDisk) bool { return h.Name == d.Name })
	}
	switch {
	case head == nil, opts.Full, head.Damaged != "":
		p.Reason = whyNot
	case held < 0:
		p.Reason = "new disk"
	case parent == nil:
		p.Resync, p.Reason = true, whyNot
	case !slices.Contains(parent.Disks, d.Name):
		p.Resync, p.Reason = true, "its changes were not tracked"
	case head.Disks[held].Size != d.Size:
		p.Resync, p.Reason = true, fmt.Sprintf("resized from %d to %d bytes", head.Disks[held].Size, d.Size)
	case formerOwner(d, head) != "":
		p.Resync, p.Reason = true, fmt.Sprintf("its image was that of disk %s", formerOwner(d, head))
	default:
		p.Incremental = true
	}
	return p
}

func diskNames(disks []SourceDisk) []string {
	names := make([]string, len(disks))
	for i, d := range disks {
		names[i] = d.Name
	}
	return names
}
