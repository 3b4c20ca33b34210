package replicator

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const fresh = "0a0b0c0d" // the pair that a full stream begins

func TestDecideSend(t *testing.T) {
	cdrom := []LeftOut{{Name: "sda", Reason: "a cdrom"}}
	both := []string{"vda", "vdb"}
	chain := checkpoints(
		SourceCheckpoint{name(2), 2, both}, SourceCheckpoint{name(3), 3, both}, SourceCheckpoint{name(10), 10, both},
		SourceCheckpoint{CheckpointName(other, 1), 1, both})
	begins := []PlanDisk{full("vda", gib, "it begins a replica"), full("vdb", 2*gib, "it begins a replica")}
	for _, c := range []struct {
		name  string
		src   *SourceView
		since string
		opts  Options
		want  Plan
		kind  string
	}{
		{
			name: "without since a pair begins, and no other's checkpoint is touched", src: sourceView(chain), kind: "full",
			want: Plan{Generation: 1, Checkpoint: CheckpointName(fresh, 1), LeftOut: cdrom, Disks: begins},
		}, {
			name: "since is built on and kept, and what is older goes", src: sourceView(chain), since: name(3), kind: "incremental",
			want: Plan{Generation: 11, Checkpoint: name(11), Parent: name(3), Drop: []string{name(2)}, LeftOut: cdrom,
				Disks: []PlanDisk{incr("vda", gib), incr("vdb", 2*gib)}},
		}, {
			name: "newest by number, not by spelling", src: sourceView(chain), since: name(10), kind: "incremental",
			want: Plan{Generation: 11, Checkpoint: name(11), Parent: name(10), Drop: []string{name(2), name(3)}, LeftOut: cdrom,
				Disks: []PlanDisk{incr("vda", gib), incr("vdb", 2*gib)}},
		}, {
			name: "whole name wins over longer ones", since: name(1), kind: "incremental",
			src: sourceView(checkpoints(SourceCheckpoint{name(1), 1, both}, SourceCheckpoint{name(12), 12, both})),
			want: Plan{Generation: 13, Checkpoint: name(13), Parent: name(1), LeftOut: cdrom,
				Disks: []PlanDisk{incr("vda", gib), incr("vdb", 2*gib)}},
		}, {
			name: "beginning of a name that is enough", src: sourceView(chain), since: "vmsync-" + other[:3], kind: "incremental",
			want: Plan{Generation: 2, Checkpoint: CheckpointName(other, 2), Parent: CheckpointName(other, 1), LeftOut: cdrom,
				Disks: []PlanDisk{incr("vda", gib), incr("vdb", 2*gib)}},
		}, {
			name: "disk that since does not track is full", since: name(4), kind: "mixed",
			src: sourceView(checkpoints(SourceCheckpoint{name(4), 4, []string{"vda"}})),
			want: Plan{Generation: 5, Checkpoint: name(5), Parent: name(4), LeftOut: cdrom,
				Disks: []PlanDisk{incr("vda", gib), full("vdb", 2*gib, "new disk")}},
		}, {
			name: "unplugged disk leaves the replica", since: name(4), kind: "incremental",
			src:  sourceView(func(v *SourceView) { v.Disks = v.Disks[:1] }),
			want: Plan{Generation: 5, Checkpoint: name(5), Parent: name(4), Disks: []PlanDisk{incr("vda", gib)}},
		}, {
			name: "full on demand goes on with the pair", src: sourceView(chain), since: name(3), opts: Options{Full: true}, kind: "full",
			want: Plan{Generation: 11, Checkpoint: name(11), Drop: []string{name(2)}, LeftOut: cdrom,
				Disks: []PlanDisk{full("vda", gib, "asked for"), full("vdb", 2*gib, "asked for")}},
		}, {
			name: "full on demand needs no checkpoint on the source", src: sourceView(noCheckpoints), since: name(7), opts: Options{Full: true}, kind: "full",
			want: Plan{Generation: 8, Checkpoint: name(8), LeftOut: cdrom,
				Disks: []PlanDisk{full("vda", gib, "asked for"), full("vdb", 2*gib, "asked for")}},
		}, {
			name: "checkpoint that libvirt has lost is adopted, and what is older goes", since: name(3), kind: "incremental",
			src: sourceView(noCheckpoints, func(v *SourceView) {
				v.Orphans = []SourceCheckpoint{{name(2), 2, both}, {name(3), 3, both}, {CheckpointName(other, 1), 1, both}}
			}),
			want: Plan{Generation: 4, Checkpoint: name(4), Parent: name(3), Adopt: []string{name(3)}, Drop: []string{name(2)}, LeftOut: cdrom,
				Disks: []PlanDisk{incr("vda", gib), incr("vdb", 2*gib)}},
		}, {
			name: "chosen disks", src: sourceView(noCheckpoints), opts: Options{Exclude: []string{"vdb"}}, kind: "full",
			want: Plan{Generation: 1, Checkpoint: CheckpointName(fresh, 1), LeftOut: append([]LeftOut{{Name: "vdb", Reason: "not chosen"}}, cdrom...),
				Disks: begins[:1]},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := DecideSend(c.src, fresh, c.since, c.opts)
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

func TestDecideSendRefuses(t *testing.T) {
	both := []string{"vda", "vdb"}
	several := checkpoints(SourceCheckpoint{name(4), 4, both}, SourceCheckpoint{name(5), 5, both}, SourceCheckpoint{"vmsync-foreign", 0, both})
	for _, c := range []struct {
		name  string
		src   *SourceView
		since string
		opts  Options
		kind  string
		disk  string
		says  string
	}{
		{name: "domain off", src: sourceView(func(v *SourceView) { v.Running = false }), kind: KindDomainOff},
		{name: "migration", src: sourceView(func(v *SourceView) { v.BusyWith = "migration" }), since: name(4), kind: KindJobActive},
		{name: "no such checkpoint", src: sourceView(), since: name(9), kind: KindNoCheckpoint, says: name(4)},
		{name: "no checkpoints at all", src: sourceView(noCheckpoints), since: name(9), kind: KindNoCheckpoint},
		{name: "another program's checkpoint", src: sourceView(several), since: "vmsync-foreign", kind: KindNoCheckpoint},
		{name: "beginning of several", src: sourceView(several), since: "vmsync-" + pair, kind: KindNoCheckpoint, says: name(5)},
		{name: "only a beginning is no name for full", src: sourceView(noCheckpoints), since: "vmsync-" + pair, opts: Options{Full: true}, kind: KindNoCheckpoint},
		{name: "no disk", src: sourceView(func(v *SourceView) { v.Disks = nil }), kind: KindNoDisk},
		{name: "replica would lose a disk", src: sourceView(), since: name(4), opts: Options{Disks: []string{"vda"}}, kind: KindDiskUnfit, disk: "vdb"},
		{name: "even in full", src: sourceView(), since: name(4), opts: Options{Disks: []string{"vda"}, Full: true}, kind: KindDiskUnfit, disk: "vdb"},
	} {
		t.Run(c.name, func(t *testing.T) {
			plan, err := DecideSend(c.src, fresh, c.since, c.opts)
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("got %+v, %v", plan, err)
			}
			if e.Kind != c.kind || e.Disk != c.disk || e.Domain != "vm1" || e.Hint == "" || !strings.Contains(e.Error(), c.says) {
				t.Errorf("got %+v", e)
			}
		})
	}
}
