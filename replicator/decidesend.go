package replicator

import (
	"fmt"
	"slices"
	"strings"
)

// DecideSend makes the plan of a stream that goes to nobody in particular: a full one
// that begins the pair newPair, or, with since, the next one for whoever holds the
// state of that checkpoint. since is a checkpoint's name or begins just one. It is a
// pure function. It refuses, with an [*Error], what cannot be sent.
//
// Nobody tells when the stream is received, so its checkpoint and since's stay; that
// since was named says that its state was received, so what is older is in Drop.
func DecideSend(src *SourceView, newPair, since string, opts Options) (*Plan, error) {
	if err := refuseSource(src); err != nil {
		return nil, err
	}
	base, err := chooseBase(src, since, opts)
	if err != nil {
		return nil, err
	}
	fit, leftOut, err := chooseDisks(src, opts)
	if err != nil {
		return nil, err
	}
	if base == nil {
		plan := newPlan(newPair, 0, ownCheckpoints(slices.Concat(src.Checkpoints, src.Orphans), newPair))
		plan.LeftOut = leftOut
		plan.addDisks(fit, nil, nil, opts, "it begins a replica")
		return plan, nil
	}
	pair, generation, _ := ParseCheckpointName(base.Name)
	head := &Head{Generation: generation, Checkpoint: base.Name, Disks: trackedDisks(src, base)}
	if l := losing(head, leftOut); l != nil {
		return nil, &Error{Kind: KindDiskUnfit, Domain: src.Name, Disk: l.Name, Op: "choose disks",
			Hint: "to keep a replica of fewer disks, begin another one: send without --since",
			Err:  fmt.Errorf("the state of %s holds this disk, and its replica would lose it (%s)", base.Name, l.Reason)}
	}
	own := ownCheckpoints(src.Checkpoints, pair)
	parent, whyFull := chooseParent(own, head, opts)
	all := slices.Concat(own, ownCheckpoints(src.Orphans, pair))
	plan := newPlan(pair, generation, all)
	plan.LeftOut = leftOut
	plan.addDisks(fit, parent, head, opts, whyFull)
	plan = plan.withoutCompare()
	plan.adoptParent(own)
	for _, c := range all {
		if c.Generation < generation {
			plan.Drop = append(plan.Drop, c.Name)
		}
	}
	return plan, nil
}

// chooseBase finds the checkpoint that since means; nil if it means none.
func chooseBase(src *SourceView, since string, opts Options) (*SourceCheckpoint, error) {
	if since == "" {
		return nil, nil
	}
	var all []string
	var found []SourceCheckpoint
	for _, c := range slices.Concat(src.Checkpoints, src.Orphans) {
		if _, _, ok := ParseCheckpointName(c.Name); !ok {
			continue
		}
		all = append(all, c.Name)
		if c.Name == since {
			return &c, nil
		}
		if strings.HasPrefix(c.Name, since) {
			found = append(found, c)
		}
	}
	if len(found) == 1 {
		return &found[0], nil
	}
	e := &Error{Kind: KindNoCheckpoint, Domain: src.Name, Op: "choose a checkpoint"}
	if len(found) > 1 {
		e.Hint = "give more of the name"
		e.Err = fmt.Errorf("several checkpoints begin with %q: %s", since, strings.Join(checkpointNames(found), ", "))
		return nil, e
	}
	if _, generation, ok := ParseCheckpointName(since); ok {
		if opts.Full {
			// Whole disks need no checkpoint to build on; its name says which replica
			// they are for.
			return &SourceCheckpoint{Name: since, Generation: generation}, nil
		}
		e.Hint = "add --full to send whole disks to the replica that has this checkpoint's state"
	} else {
		e.Hint = "send without --since to begin a replica"
	}
	e.Err = fmt.Errorf("the domain has no checkpoint that begins with %q", since)
	if len(all) > 0 {
		e.Err = fmt.Errorf("%w, but %s", e.Err, strings.Join(all, ", "))
	}
	return nil, e
}

// trackedDisks are the disks that a state holds as far as its checkpoint tells: it
// does not know their sizes, so those of now are taken, and who receives the stream
// compares them.
func trackedDisks(src *SourceView, c *SourceCheckpoint) []HeadDisk {
	var disks []HeadDisk
	for _, d := range src.Disks {
		if slices.Contains(c.Disks, d.Name) {
			disks = append(disks, HeadDisk{Name: d.Name, Size: d.Size})
		}
	}
	return disks
}

func checkpointNames(cs []SourceCheckpoint) []string {
	names := make([]string, len(cs))
	for i, c := range cs {
		names[i] = c.Name
	}
	return names
}

// withoutCompare sends in full what a sync would compare: there is nobody to compare with.
func (p *Plan) withoutCompare() *Plan {
	for i := range p.Disks {
		p.Disks[i].Resync = false
	}
	return p
}
