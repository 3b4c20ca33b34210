package replicator

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vmsync/nbdproxy/stream"
)

// header is that of an incremental stream which fits onto targetView.
func header(t *testing.T, edit ...func(*stream.Header)) *stream.Header {
	t.Helper()
	state, err := streamState().Encode()
	if err != nil {
		t.Fatal(err)
	}
	h := &stream.Header{Domain: "vm1", Checkpoint: name(5), Parent: name(4), State: state,
		Disks: []stream.Disk{{Name: "vda", Size: gib, Incremental: true}, {Name: "vdb", Size: 2 * gib, Incremental: true}}}
	for _, e := range edit {
		e(h)
	}
	return h
}

func incoming(t *testing.T, edit ...func(*stream.Header)) *Incoming {
	t.Helper()
	in, err := NewIncoming(header(t, edit...))
	if err != nil {
		t.Fatal(err)
	}
	return in
}

func whole(h *stream.Header) {
	h.Parent = ""
	for i := range h.Disks {
		h.Disks[i].Incremental = false
	}
}

func at(checkpoint, parent string) func(*stream.Header) {
	return func(h *stream.Header) { h.Checkpoint, h.Parent = checkpoint, parent }
}

func TestHeaderThatDescribesNoStateIsRefused(t *testing.T) {
	for what, edit := range map[string]func(*stream.Header){
		"no state":                     func(h *stream.Header) { h.State = nil },
		"state of another version":     func(h *stream.Header) { h.State = []byte(`{"version":9}`) },
		"checkpoint of nobody":         func(h *stream.Header) { h.Checkpoint = "backup.1" },
		"checkpoint with leading zero": func(h *stream.Header) { h.Checkpoint = "vmsync-" + pair + "-05" },
		"parent of nobody":             func(h *stream.Header) { h.Parent = "backup.0" },
		"parent of another pair":       func(h *stream.Header) { h.Parent = CheckpointName(other, 4) },
		"parent of itself":             func(h *stream.Header) { h.Parent = h.Checkpoint },
		"parent that is newer":         func(h *stream.Header) { h.Parent = name(6) },
		"disk that no one defined":     func(h *stream.Header) { h.Disks[1].Name = "vdz" },
		"disk that is a cdrom":         func(h *stream.Header) { h.Disks[1].Name = "sda" },
	} {
		_, err := NewIncoming(header(t, edit))
		if e := AsError(err); e == nil || e.Kind != KindStream || e.Domain != "vm1" || e.Hint == "" {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestDecideReceive(t *testing.T) {
	both := func(incremental bool) []PrepareDisk {
		return []PrepareDisk{{Name: "vda", Size: gib, Incremental: incremental}, {Name: "vdb", Size: 2 * gib, Incremental: incremental}}
	}
	for _, c := range []struct {
		name string
		in   *Incoming
		dst  *TargetView
		want PrepareRequest
	}{
		{
			name: "empty replica takes a full stream and its pair", in: incoming(t, whole, at(CheckpointName(other, 1), "")), dst: targetView(empty),
			want: PrepareRequest{Generation: 1, Domain: "vm1", Checkpoint: CheckpointName(other, 1), Disks: both(false), Adopt: true},
		}, {
			name: "any generation may be the first", in: incoming(t, whole, at(CheckpointName(other, 70), "")), dst: targetView(empty),
			want: PrepareRequest{Generation: 70, Domain: "vm1", Checkpoint: CheckpointName(other, 70), Disks: both(false), Adopt: true},
		}, {
			name: "what builds on the head", in: incoming(t), dst: targetView(),
			want: PrepareRequest{Generation: 5, Domain: "vm1", Checkpoint: name(5), Parent: name(4), Disks: both(true)},
		}, {
			name: "whatever the numbers in between were for", in: incoming(t, at(name(12), name(4))), dst: targetView(func(v *TargetView) { v.LastUsed = 30 }),
			want: PrepareRequest{Generation: 12, Domain: "vm1", Checkpoint: name(12), Parent: name(4), Disks: both(true)},
		}, {
			name: "full stream of the pair that is newer", in: incoming(t, whole), dst: targetView(),
			want: PrepareRequest{Generation: 5, Domain: "vm1", Checkpoint: name(5), Disks: both(false)},
		}, {
			name: "new and resized disks in full beside incremental ones", dst: targetView(func(v *TargetView) { v.Head.Disks = []HeadDisk{{"vda", gib}} }),
			in: incoming(t, func(h *stream.Header) { h.Disks[1].Incremental = false }),
			want: PrepareRequest{Generation: 5, Domain: "vm1", Checkpoint: name(5), Parent: name(4),
				Disks: []PrepareDisk{{Name: "vda", Size: gib, Incremental: true}, {Name: "vdb", Size: 2 * gib}}},
		}, {
			name: "disk that was unplugged", dst: targetView(), in: incoming(t, func(h *stream.Header) { h.Disks = h.Disks[:1] }),
			want: PrepareRequest{Generation: 5, Domain: "vm1", Checkpoint: name(5), Parent: name(4), Disks: both(true)[:1]},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := DecideReceive(c.in, c.dst)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestDecideReceiveRefuses(t *testing.T) {
	leftOutVDB := func(h *stream.Header) {
		h.Disks = h.Disks[:1]
		state, err := streamState(func(s *StreamState) { s.LeftOut = []string{"sda", "vdb"} }).Encode()
		if err != nil {
			t.Fatal(err)
		}
		h.State = state
	}
	for _, c := range []struct {
		name string
		in   *Incoming
		dst  *TargetView
		kind string
		disk string
		says string // and hints
	}{
		{name: "changes for an empty replica", in: incoming(t), dst: targetView(empty), kind: KindParentMissing, says: name(4)},
		{name: "another machine", in: incoming(t), dst: targetView(func(v *TargetView) { v.UUID = "x" }), kind: KindOtherMachine, says: "--target-domain"},
		{name: "another machine, full", in: incoming(t, whole), dst: targetView(func(v *TargetView) { v.UUID = "x" }), kind: KindOtherMachine},
		{name: "another replica", in: incoming(t, at(CheckpointName(other, 5), CheckpointName(other, 4))), dst: targetView(), kind: KindOtherReplica, says: "--since " + name(4)},
		{name: "another replica, full", in: incoming(t, whole, at(CheckpointName(other, 9), "")), dst: targetView(), kind: KindOtherReplica},
		{name: "twice", in: incoming(t, at(name(4), name(3))), dst: targetView(), kind: KindHeld, says: "already has it"},
		{name: "twice, full", in: incoming(t, whole, at(name(4), "")), dst: targetView(), kind: KindHeld, says: "already has it"},
		{name: "older than the head", in: incoming(t, at(name(3), name(2))), dst: targetView(), kind: KindHeld, says: "already past " + name(3)},
		{name: "older than the head, full", in: incoming(t, whole, at(name(3), "")), dst: targetView(), kind: KindHeld},
		{name: "one in between is missing", in: incoming(t, at(name(6), name(5))), dst: targetView(), kind: KindParentMissing, says: "order"},
		{name: "one in between was not sent for this", in: incoming(t, at(name(6), name(3))), dst: targetView(), kind: KindParentMissing, says: "--since " + name(4)},
		{name: "changes of a disk that the head does not hold", in: incoming(t), dst: targetView(func(v *TargetView) { v.Head.Disks = v.Head.Disks[:1] }),
			kind: KindParentMissing, disk: "vdb", says: "--full"},
		{name: "changes of a resized disk", in: incoming(t, func(h *stream.Header) { h.Disks[0].Size++ }), dst: targetView(), kind: KindParentMissing, disk: "vda", says: "--full"},
		{name: "disk left out that the head holds", in: incoming(t, leftOutVDB), dst: targetView(), kind: KindDiskUnfit, disk: "vdb"},
	} {
		t.Run(c.name, func(t *testing.T) {
			req, err := DecideReceive(c.in, c.dst)
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("got %+v, %v", req, err)
			}
			if e.Kind != c.kind || e.Disk != c.disk || e.Domain != "vm1" || e.Hint == "" || !strings.Contains(e.Error(), c.says) {
				t.Errorf("got %+v", e)
			}
		})
	}
}
