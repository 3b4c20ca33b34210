package replicator

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	pair  = "3f2a9c1b"
	gib   = int64(1) << 30
	vmID  = "11111111-2222-3333-4444-555555555555"
	other = "deadbeef"
)

func name(generation int64) string { return CheckpointName(pair, generation) }

func sourceView(edit ...func(*SourceView)) *SourceView {
	v := &SourceView{Name: "vm1", UUID: vmID, HostID: "a", Running: true, State: "running",
		Disks: []SourceDisk{
			{Name: "vda", Format: "qcow2", Size: gib},
			{Name: "vdb", Format: "qcow2", Size: 2 * gib},
			{Name: "sda", Unfit: "a cdrom", Ignored: true},
		},
		Checkpoints: []SourceCheckpoint{{Name: name(4), Generation: 4, Disks: []string{"vda", "vdb"}}},
	}
	for _, e := range edit {
		e(v)
	}
	return v
}

func targetView(edit ...func(*TargetView)) *TargetView {
	v := &TargetView{Pair: pair, HostID: "b", Folder: "/var/lib/vmsync/vm1", UUID: vmID, LastUsed: 4,
		Head: &Head{Generation: 4, Checkpoint: name(4), Disks: []HeadDisk{{"vda", gib}, {"vdb", 2 * gib}}}}
	for _, e := range edit {
		e(v)
	}
	return v
}

func empty(v *TargetView) { v.Head, v.UUID, v.LastUsed = nil, "", 0 }

func noCheckpoints(v *SourceView) { v.Checkpoints = nil }

func checkpoints(cs ...SourceCheckpoint) func(*SourceView) {
	return func(v *SourceView) { v.Checkpoints = cs }
}

func full(name string, size int64, why string) PlanDisk {
	return PlanDisk{Name: name, Size: size, Reason: why}
}
func resync(name string, size int64, why string) PlanDisk {
	return PlanDisk{Name: name, Size: size, Resync: true, Reason: why}
}
func incr(name string, size int64) PlanDisk {
	return PlanDisk{Name: name, Size: size, Incremental: true}
}

func TestDecide(t *testing.T) {
	cdrom := []LeftOut{{Name: "sda", Reason: "a cdrom"}}
	both := []string{"vda", "vdb"}
	for _, c := range []struct {
		name string
		src  *SourceView
		dst  *TargetView
		opts Options
		want Plan
		kind string
	}{
		{
			name: "first sync is full", src: sourceView(noCheckpoints), dst: targetView(empty), kind: "full",
			want: Plan{Generation: 1, Checkpoint: name(1), LeftOut: cdrom,
				Disks: []PlanDisk{full("vda", gib, "first sync"), full("vdb", 2*gib, "first sync")}},
		}, {
			name: "head's checkpoint makes it incremental", src: sourceView(), dst: targetView(), kind: "incremental",
			want: Plan{Generation: 5, Checkpoint: name(5), Parent: name(4), Drop: []string{name(4)}, LeftOut: cdrom,
				Disks: []PlanDisk{incr("vda", gib), incr("vdb", 2*gib)}},
		}, {
			name: "checkpoint of a run that never committed is forgotten, its number not used again",
			src:  sourceView(checkpoints(SourceCheckpoint{name(4), 4, both}, SourceCheckpoint{name(11), 11, both})),
			dst:  targetView(), kind: "incremental",
			want: Plan{Generation: 12, Checkpoint: name(12), Parent: name(4), Forget: []string{name(11)}, Drop: []string{name(4)}, LeftOut: cdrom,
				Disks: []PlanDisk{incr("vda", gib), incr("vdb", 2*gib)}},
		}, {
			name: "parent that should have been dropped is forgotten",
			src:  sourceView(checkpoints(SourceCheckpoint{name(3), 3, both}, SourceCheckpoint{name(4), 4, both})),
			dst:  targetView(), kind: "incremental",
			want: Plan{Generation: 5, Checkpoint: name(5), Parent: name(4), Forget: []string{name(3)}, Drop: []string{name(4)}, LeftOut: cdrom,
				Disks: []PlanDisk{incr("vda", gib), incr("vdb", 2*gib)}},
		}, {
			name: "checkpoints of other replicas and other tools are none of ours",
			src: sourceView(checkpoints(SourceCheckpoint{CheckpointName(other, 4), 4, both}, SourceCheckpoint{"virtnbdbackup.0", 0, both},
				SourceCheckpoint{name(4), 4, both})),
			dst: targetView(), kind: "incremental",
			want: Plan{Generation: 5, Checkpoint: name(5), Parent: name(4), Drop: []string{name(4)}, LeftOut: cdrom,
				Disks: []PlanDisk{incr("vda", gib), incr("vdb", 2*gib)}},
		}, {
			name: "lost checkpoint is looked for, whatever else is there",
			src:  sourceView(checkpoints(SourceCheckpoint{name(3), 3, both})), dst: targetView(), kind: "incremental",
			want: Plan{Generation: 5, Checkpoint: name(5), Parent: name(4), Adopt: []string{name(4)}, Forget: []string{name(3)}, Drop: []string{name(4)}, LeftOut: cdrom,
				Disks: []PlanDisk{incr("vda", gib), incr("vdb", 2*gib)}},
		}, {
			name: "orphans are of use or forgotten, their numbers not used again, another replica's left alone",
			src: sourceView(noCheckpoints, func(v *SourceView) {
				v.Orphans = []SourceCheckpoint{{name(3), 3, both}, {name(4), 4, both}, {name(7), 7, both}, {CheckpointName(other, 9), 9, both}}
			}), dst: targetView(), kind: "incremental",
			want: Plan{Generation: 8, Checkpoint: name(8), Parent: name(4), Adopt: []string{name(4)}, Forget: []string{name(3), name(7)}, Drop: []string{name(4)}, LeftOut: cdrom,
				Disks: []PlanDisk{incr("vda", gib), incr("vdb", 2*gib)}},
		}, {
			name: "nothing is adopted for a full copy", opts: Options{Full: true}, kind: "full",
			src: sourceView(noCheckpoints, func(v *SourceView) { v.Orphans = []SourceCheckpoint{{name(4), 4, both}} }), dst: targetView(),
			want: Plan{Generation: 5, Checkpoint: name(5), Drop: []string{name(4)}, LeftOut: cdrom,
				Disks: []PlanDisk{full("vda", gib, "asked for"), full("vdb", 2*gib, "asked for")}},
		}, {
			name: "images that changed places are compared", kind: "mixed",
			src: sourceView(noCheckpoints, func(v *SourceView) {
				v.Disks[0].Path, v.Disks[1].Path = "/b", "/other"
			}),
			dst: targetView(func(v *TargetView) { v.Head.Images = map[string]string{"vda": "/a", "vdb": "/b"} }),
			want: Plan{Generation: 5, Checkpoint: name(5), Parent: name(4), Adopt: []string{name(4)}, Drop: []string{name(4)}, LeftOut: cdrom,
				Disks: []PlanDisk{{Name: "vda", Size: gib, Resync: true, Reason: "its image was that of disk vdb"}, incr("vdb", 2*gib)}},
		}, {
			name: "nothing is adopted for disks of other sizes", kind: "resync",
			src: sourceView(noCheckpoints, func(v *SourceView) { v.Disks[0].Size, v.Disks[1].Size = gib+512, gib+512 }), dst: targetView(),
			want: Plan{Generation: 5, Checkpoint: name(5), LeftOut: cdrom,
				Disks: []PlanDisk{resync("vda", gib+512, "resized from 1073741824 to 1073742336 bytes"), resync("vdb", gib+512, "resized from 2147483648 to 1073742336 bytes")}},
		}, {
			name: "full on demand keeps the baseline until it is replaced", src: sourceView(), dst: targetView(), opts: Options{Full: true}, kind: "full",
			want: Plan{Generation: 5, Checkpoint: name(5), Drop: []string{name(4)}, LeftOut: cdrom,
				Disks: []PlanDisk{full("vda", gib, "asked for"), full("vdb", 2*gib, "asked for")}},
		}, {
			name: "resync on demand keeps the baseline, too", src: sourceView(), dst: targetView(), opts: Options{Resync: true}, kind: "resync",
			want: Plan{Generation: 5, Checkpoint: name(5), Drop: []string{name(4)}, LeftOut: cdrom,
				Disks: []PlanDisk{resync("vda", gib, "asked for"), resync("vdb", 2*gib, "asked for")}},
		}, {
			name: "resync of an empty replica is its first sync", src: sourceView(noCheckpoints), dst: targetView(empty), opts: Options{Resync: true}, kind: "full",
			want: Plan{Generation: 1, Checkpoint: name(1), LeftOut: cdrom,
				Disks: []PlanDisk{full("vda", gib, "first sync"), full("vdb", 2*gib, "first sync")}},
		}, {
			name: "nothing is built on a damaged head", src: sourceView(), dst: targetView(func(v *TargetView) { v.Head.Damaged = "vda: bad" }), kind: "full",
			want: Plan{Generation: 5, Checkpoint: name(5), Drop: []string{name(4)}, LeftOut: cdrom,
				Disks: []PlanDisk{full("vda", gib, "what the store holds is damaged: vda: bad"), full("vdb", 2*gib, "what the store holds is damaged: vda: bad")}},
		}, {
			name: "new disk is full beside incremental ones",
			src:  sourceView(func(v *SourceView) { v.Disks = append(v.Disks, SourceDisk{Name: "vdc", Size: gib}) }), dst: targetView(), kind: "mixed",
			want: Plan{Generation: 5, Checkpoint: name(5), Parent: name(4), Drop: []string{name(4)}, LeftOut: cdrom,
				Disks: []PlanDisk{incr("vda", gib), incr("vdb", 2*gib), full("vdc", gib, "new disk")}},
		}, {
			name: "disk the checkpoint does not track is compared",
			src:  sourceView(checkpoints(SourceCheckpoint{name(4), 4, []string{"vda"}})), dst: targetView(), kind: "mixed",
			want: Plan{Generation: 5, Checkpoint: name(5), Parent: name(4), Drop: []string{name(4)}, LeftOut: cdrom,
				Disks: []PlanDisk{incr("vda", gib), resync("vdb", 2*gib, "its changes were not tracked")}},
		}, {
			name: "resized disk is compared",
			src:  sourceView(func(v *SourceView) { v.Disks[0].Size = gib + 512 }), dst: targetView(), kind: "mixed",
			want: Plan{Generation: 5, Checkpoint: name(5), Parent: name(4), Drop: []string{name(4)}, LeftOut: cdrom,
				Disks: []PlanDisk{resync("vda", gib+512, "resized from 1073741824 to 1073742336 bytes"), incr("vdb", 2*gib)}},
		}, {
			name: "unplugged disk leaves the replica",
			src:  sourceView(func(v *SourceView) { v.Disks = v.Disks[:1] }), dst: targetView(), kind: "incremental",
			want: Plan{Generation: 5, Checkpoint: name(5), Parent: name(4), Drop: []string{name(4)}, Disks: []PlanDisk{incr("vda", gib)}},
		}, {
			name: "vda is not vdaa", opts: Options{Exclude: []string{"vda"}}, kind: "full",
			src: sourceView(func(v *SourceView) { v.Disks[1].Name = "vdaa" }), dst: targetView(empty),
			want: Plan{Generation: 5, Checkpoint: name(5), Forget: []string{name(4)}, LeftOut: append([]LeftOut{{Name: "vda", Reason: "not chosen"}}, cdrom...),
				Disks: []PlanDisk{full("vdaa", 2*gib, "first sync")}},
		}, {
			name: "unfit disk is left out and named",
			src:  sourceView(noCheckpoints, func(v *SourceView) { v.Disks[1].Unfit = "raw" }), dst: targetView(empty), kind: "full",
			want: Plan{Generation: 1, Checkpoint: name(1), LeftOut: append([]LeftOut{{Name: "vdb", Reason: "raw", Notable: true}}, cdrom...),
				Disks: []PlanDisk{full("vda", gib, "first sync")}},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Decide(c.src, c.dst, c.opts)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&c.want, got); diff != "" {
				t.Error(diff)
			}
			if got.Kind() != c.kind {
				t.Errorf("kind %s, want %s", got.Kind(), c.kind)
			}
		})
	}
}

func TestDecideRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		src  *SourceView
		dst  *TargetView
		opts Options
		kind string
		disk string
	}{
		{name: "domain off", src: sourceView(func(v *SourceView) { v.Running = false }), dst: targetView(), kind: KindDomainOff},
		{name: "a job that libvirt lost", src: sourceView(func(v *SourceView) { v.BusyWith, v.JobLost = "backup", true }), dst: targetView(), kind: KindJobActive},
		{name: "migration", src: sourceView(func(v *SourceView) { v.BusyWith = "migration" }), dst: targetView(), kind: KindJobActive},
		{name: "another machine's replica", src: sourceView(), dst: targetView(func(v *TargetView) { v.UUID = "x" }), kind: KindOtherMachine},
		{name: "no disk at all", src: sourceView(func(v *SourceView) { v.Disks = nil }), dst: targetView(empty), kind: KindNoDisk},
		{name: "only a raw disk", src: sourceView(func(v *SourceView) { v.Disks = v.Disks[:1]; v.Disks[0].Unfit = "raw" }), dst: targetView(empty), kind: KindNoDisk},
		{name: "chosen disk unfit", src: sourceView(func(v *SourceView) { v.Disks[1].Unfit = "raw" }), dst: targetView(empty),
			opts: Options{Disks: []string{"vdb"}}, kind: KindDiskUnfit, disk: "vdb"},
		{name: "chosen disk unknown", src: sourceView(), dst: targetView(), opts: Options{Disks: []string{"vd"}}, kind: KindNoDisk, disk: "vd"},
		{name: "excluded disk unknown", src: sourceView(), dst: targetView(), opts: Options{Exclude: []string{"vdz"}}, kind: KindNoDisk, disk: "vdz"},
		{name: "replica would lose a disk", src: sourceView(), dst: targetView(), opts: Options{Disks: []string{"vda"}}, kind: KindDiskUnfit, disk: "vdb"},
	} {
		t.Run(c.name, func(t *testing.T) {
			plan, err := Decide(c.src, c.dst, c.opts)
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("got %+v, %v", plan, err)
			}
			if e.Kind != c.kind || e.Disk != c.disk || e.Domain != "vm1" || e.Hint == "" {
				t.Errorf("got %+v", e)
			}
		})
	}
}

func TestPlanWithFullDisk(t *testing.T) {
	plan, err := Decide(sourceView(), targetView(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	one := plan.WithFull("vda", "bad")
	if diff := cmp.Diff([]PlanDisk{full("vda", gib, "bad"), incr("vdb", 2*gib)}, one.Disks); diff != "" || one.Parent == "" {
		t.Error(one.Parent, diff)
	}
	if both := one.WithFull("vdb", "bad"); both.Parent != "" || both.Kind() != "full" || len(both.Drop) != 1 {
		t.Errorf("%+v", both)
	}
	if plan.Kind() != "incremental" {
		t.Error("the plan it was made from changed")
	}
}

func TestPlanWithoutParentAdoptsNothing(t *testing.T) {
	plan, err := Decide(sourceView(noCheckpoints), targetView(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	got := plan.WithoutParent("gone")
	if got.Adopt != nil || got.Parent != "" || len(got.Forget) != 1 || got.Forget[0] != name(4) {
		t.Errorf("%+v", got)
	}
}

func TestPlanWithoutParent(t *testing.T) {
	plan, err := Decide(sourceView(), targetView(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	got := plan.WithoutParent("broken")
	want := &Plan{Generation: 5, Checkpoint: name(5), Forget: []string{name(4)}, LeftOut: plan.LeftOut,
		Disks: []PlanDisk{resync("vda", gib, "broken"), resync("vdb", 2*gib, "broken")}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if plan.Kind() != "incremental" {
		t.Error("the plan it was made from changed")
	}
}
