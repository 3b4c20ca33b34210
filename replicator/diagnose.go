package replicator

import (
	"fmt"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"
)

// Level says how much a finding matters.
type Level string

// Levels. They are part of the JSON output.
const (
	LevelFine  Level = "fine"  // as it should be
	LevelNote  Level = "note"  // worth knowing; nobody has to act
	LevelWrong Level = "wrong" // a sync cannot run, or not as it should
)

// Finding is one thing that a [Diagnosis] has to say.
type Finding struct {
	Level Level
	Text  string
	Fix   string // what to do about it; may be empty
}

// Diagnosis says in words what is on both ends and what the next sync will do.
type Diagnosis struct {
	Source, Target, Next []Finding
}

// Wrong tells whether anything is.
func (d *Diagnosis) Wrong() bool {
	return slices.ContainsFunc(slices.Concat(d.Source, d.Target, d.Next), func(f Finding) bool { return f.Level == LevelWrong })
}

// Seen is what looks that change nothing have seen of both ends. Of each end either the
// view or the error is set.
type Seen struct {
	Domain string // as the user named it
	// TargetDomain is the name of the replica.
	TargetDomain string
	Source       *SourceView
	SourceErr    error
	Target       *TargetView
	TargetErr    error
}

// Diagnose explains what was seen. It is a pure function.
func Diagnose(s Seen) *Diagnosis {
	d := &diagnosis{Seen: s}
	if s.Itself() {
		// Nothing that is to be seen of the replica as a source would be of any use.
		from := ""
		if s.Target.Look != nil && s.Target.Look.Source != "" {
			from = ", which was on " + s.Target.Look.Source
		}
		d.Source.add(LevelNote, "the source was not looked at: the domain of this name there is the replica itself",
			"say where the source is"+from+": --source-uri qemu+ssh://HOST/system")
		d.Seen.Source = nil
	} else {
		d.explainSource()
	}
	d.explainTarget()
	d.explainNext()
	return &Diagnosis{Source: d.Source, Target: d.Target, Next: d.Next}
}

// Itself tells whether source and target are the one domain.
func (s Seen) Itself() bool {
	return s.Source != nil && s.Target != nil && s.Source.HostID == s.Target.HostID && s.Source.Name == s.TargetDomain
}

type findings []Finding

func (f *findings) add(level Level, text, fix string) {
	*f = append(*f, Finding{level, text, fix})
}

func (f *findings) addError(what string, err error) {
	e := AsError(err)
	f.add(LevelWrong, what+e.Text(), e.Advice())
}

// diagnosis is one that is being made.
type diagnosis struct {
	Seen
	Source, Target, Next findings
}

// pair is that of the replica; empty if there is none or it was not seen.
func (d *diagnosis) pair() string {
	if d.Seen.Target == nil {
		return ""
	}
	return d.Seen.Target.Pair
}

func (d *diagnosis) head() *Head {
	if d.Seen.Target == nil {
		return nil
	}
	return d.Seen.Target.Head
}

func (d *diagnosis) explainSource() {
	v := d.Seen.Source
	if v == nil {
		d.Source.addError("the source could not be looked at: ", d.SourceErr)
		return
	}
	if v.Running {
		d.Source.add(LevelFine, "the domain is "+v.State, "")
	} else {
		d.Source.add(LevelWrong, "the domain is "+v.State+": libvirt backs up only one that is running or paused", "virsh start "+v.Name)
	}
	for _, disk := range v.Disks {
		d.explainDisk(disk)
	}
	if v.HeldBy != "" {
		d.Source.add(LevelNote, v.HeldBy, "")
	}
	if v.JobLost {
		d.Source.add(LevelWrong, "libvirt holds the domain for a "+v.BusyWith+": it died as one began", jobLostHint)
	} else if v.BusyWith != "" {
		d.Source.add(LevelWrong, "another program's job excludes a backup: "+v.BusyWith, "wait for it to end, or end it yourself; see: virsh domjobinfo "+v.Name)
	}
	for _, l := range v.Leftovers {
		d.Source.add(LevelNote, "left behind: "+l, "the next sync sees to it, and so does --fix")
	}
	d.explainCheckpoints()
	for _, w := range v.Warnings {
		d.Source.add(LevelNote, w, "")
	}
}

func (d *diagnosis) explainDisk(disk SourceDisk) {
	held := d.head() != nil && slices.ContainsFunc(d.head().Disks, func(h HeadDisk) bool { return h.Name == disk.Name })
	switch {
	case disk.Ignored:
	case disk.Unfit == "":
		d.Source.add(LevelFine, fmt.Sprintf("disk %s, %s of %s, can be replicated", disk.Name, disk.Format, bytesText(disk.Size)), "")
	case held:
		d.Source.add(LevelWrong, fmt.Sprintf("disk %s is part of the replica and cannot be replicated any more: %s", disk.Name, disk.Unfit),
			"convert it to qcow2 (compat=1.1) while the domain is off, or give the domain another replica with --target-domain")
	default:
		d.Source.add(LevelNote, fmt.Sprintf("disk %s is left out: %s", disk.Name, disk.Unfit), "")
	}
}

// explainCheckpoints tells the pair's checkpoints and bitmaps from others.
func (d *diagnosis) explainCheckpoints() {
	v, head, others := d.Seen.Source, d.head(), []string{}
	there := false
	for _, c := range v.Checkpoints {
		pair, _, _ := ParseCheckpointName(c.Name)
		switch {
		case head != nil && c.Name == head.Checkpoint:
			there = true
			d.Source.add(LevelFine, fmt.Sprintf("checkpoint %s knows what changed on %s since the replica's newest state", c.Name, strings.Join(c.Disks, ", ")), "")
		case pair == d.pair() && pair != "":
			d.Source.add(LevelNote, fmt.Sprintf("checkpoint %s is of no use any more", c.Name), "the next sync deletes it")
		default:
			others = append(others, c.Name)
		}
	}
	orphaned := false
	for _, c := range v.Orphans {
		pair, _, _ := ParseCheckpointName(c.Name)
		what := fmt.Sprintf("libvirt does not know checkpoint %s, but its bitmaps are there on %s", c.Name, strings.Join(c.Disks, ", "))
		switch {
		case head != nil && c.Name == head.Checkpoint:
			orphaned = true
			d.Source.add(LevelNote, what, "the next sync tells libvirt of it again and goes on with it, if they are sound")
		case pair == d.pair() && pair != "":
			d.Source.add(LevelNote, what, "the next sync deletes them")
		default:
			others = append(others, c.Name+" (its bitmaps only)")
		}
	}
	if head != nil && !there && !orphaned {
		d.Source.add(LevelNote, fmt.Sprintf("libvirt does not know checkpoint %s, which tells what changed since the replica's newest state, and no bitmap of it was seen", head.Checkpoint),
			"the next sync looks for its bitmaps once more; without them it compares whole disks and sends what differs")
	}
	switch {
	case len(others) == 0:
	case d.Seen.Target == nil:
		d.Source.add(LevelNote, "checkpoints of replicas: "+strings.Join(others, ", "), "")
	default:
		d.Source.add(LevelNote, "checkpoints of other replicas of this domain: "+strings.Join(others, ", "),
			"if such a replica is no more: virsh checkpoint-delete "+v.Name+" CHECKPOINT")
	}
}

func (d *diagnosis) explainTarget() {
	v := d.Seen.Target
	if v == nil {
		d.Target.addError("the target could not be looked at: ", d.TargetErr)
		return
	}
	look := v.Look
	if look == nil {
		look = &TargetLook{Exists: v.Pair != ""}
	}
	if !look.Exists {
		if len(look.Refused) == 0 {
			d.Target.add(LevelNote, "there is no replica in "+v.Folder, "the first sync makes it")
		}
		d.explainRefused(look)
		return
	}
	if head := v.Head; head != nil {
		d.Target.add(LevelFine, fmt.Sprintf("%s in %s, the newest of %s, on %s", counted(look.States, "state"), v.Folder, head.Time.UTC().Format("2006-01-02 15:04:05Z"), diskList(head)), "")
	} else {
		d.Target.add(LevelNote, "the replica in "+v.Folder+" has no state yet", "the next sync brings the first")
	}
	if look.Keep != "" {
		d.Target.add(LevelFine, "policy: keep "+look.Keep, "")
	}
	if look.Domain != "" {
		d.Target.add(LevelFine, "the replica's domain is "+look.Domain, "")
	} else if v.Head != nil && !slices.ContainsFunc(look.Refused, func(e *Error) bool { return e.Kind == KindUnreachable }) {
		d.Target.add(LevelNote, "the replica's domain is not defined", "the next sync defines it when it has a new state")
	}
	for _, damage := range look.Damaged {
		d.Target.add(LevelWrong, "damaged: "+damage, "a sync makes a new state, in full where it must; delete the damaged one then: vmsync states delete "+d.TargetDomain+"@STATE")
	}
	if look.InUse {
		d.Target.add(LevelNote, "a run is at work on the replica", "")
	}
	for _, l := range look.Leftovers {
		d.Target.add(LevelNote, "left behind: "+l, "the next sync sees to it, and so does --fix")
	}
	if len(look.Staged) > 0 {
		d.Target.add(LevelNote, "a sync that did not end has received a part of "+strings.Join(look.Staged, ", "), "the next sync goes on with it")
	}
	for _, p := range look.Pinned {
		d.Target.add(LevelNote, "in use: state "+p, "")
	}
	d.explainRefused(look)
	d.explainSpace(look)
	for _, w := range v.Warnings {
		d.Target.add(LevelNote, w, "")
	}
}

// counted is a number of things of a name, which takes an s.
func counted(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

func diskList(head *Head) string {
	var names []string
	for _, d := range head.Disks {
		names = append(names, d.Name)
	}
	return strings.Join(names, ", ")
}

func (d *diagnosis) explainRefused(look *TargetLook) {
	for _, e := range look.Refused {
		text := e.Text()
		if e.Disk != "" {
			text = "disk " + e.Disk + ": " + text
		}
		d.Target.add(LevelWrong, text, e.Advice())
	}
}

func bytesText(n int64) string { return humanize.IBytes(uint64(max(0, n))) }

// explainSpace warns when what is free is little beside what there is.
func (d *diagnosis) explainSpace(look *TargetLook) {
	text := fmt.Sprintf("the images take %s on disk, %s are free", bytesText(look.Allocated), bytesText(look.Free))
	if look.Free < look.Allocated/10 {
		d.Target.add(LevelNote, text, "a sync that finds too little space leaves the replica as it is; to give some back: vmsync prune "+d.TargetDomain)
		return
	}
	d.Target.add(LevelFine, text, "")
}

// explainNext foretells the next sync.
func (d *diagnosis) explainNext() {
	src, dst := d.Seen.Source, d.Seen.Target
	switch {
	case src == nil && dst == nil:
		d.Next.add(LevelNote, "nobody can tell without seeing both ends", "")
		return
	case src == nil:
		d.Next.add(LevelNote, "nobody can tell without seeing the source", "")
		return
	case dst == nil:
		d.Next.add(LevelNote, "nobody can tell without seeing the target", "")
		return
	}
	if dst.Look != nil && len(dst.Look.Refused) > 0 {
		e := dst.Look.Refused[0]
		d.Next.add(LevelWrong, "it refuses: "+e.Text(), e.Advice())
		return
	}
	plan, err := Decide(src, dst, Options{})
	if err != nil {
		d.Next.addError("it refuses: ", err)
		return
	}
	if src.HeldBy != "" || dst.Look != nil && dst.Look.InUse {
		d.Next.add(LevelNote, "it waits some seconds for the run that is at work, and then gives up", "")
	}
	d.explainPlan(plan)
}

func (d *diagnosis) explainPlan(plan *Plan) {
	if plan.Parent != "" {
		text := "incremental: it sends what changed since " + plan.Parent
		if len(plan.Adopt) > 0 {
			d.Next.add(LevelNote, text+", if the bitmaps of that are there and sound; otherwise it compares whole disks and sends what differs", "")
		} else {
			d.Next.add(LevelFine, text, "")
		}
	}
	for _, disk := range plan.Disks {
		switch {
		case disk.Incremental:
		case disk.Resync:
			d.Next.add(LevelNote, fmt.Sprintf("disk %s: all of it is compared, and what differs is sent: %s", disk.Name, disk.Reason), "")
		default:
			d.Next.add(LevelNote, fmt.Sprintf("disk %s: sent in full: %s", disk.Name, disk.Reason), "")
		}
	}
	if len(plan.Forget) > 0 {
		d.Next.add(LevelFine, "it deletes "+strings.Join(plan.Forget, ", "), "")
	}
}
