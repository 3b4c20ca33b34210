package ui

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vmsync/internal/event"
)

func TestEventsOfASyncCanBeReadBack(t *testing.T) {
	traffic := event.Traffic{Bytes: 7, Frames: 2, Codecs: []event.CodecTraffic{{Codec: "s2", Frames: 1, Raw: 9, Stored: 3}, {Codec: "zstd", Frames: 1, Raw: 4, Stored: 2}}}
	for _, e := range []event.Event{
		event.Run{ID: "0123456789ab", Domain: "vm1", Source: "hosta"},
		event.PhaseStarted{Phase: event.PhaseInspect},
		event.PhaseFinished{Phase: event.PhaseInspect, Duration: 1500 * time.Millisecond, Detail: "fine"},
		event.Notice{Message: "by the way"},
		event.Warning{Message: "look out", Disk: "vda"},
		event.Error{Run: "0123456789ab", Kind: "busy", Message: "no", Domain: "vm1", Disk: "vda", Hint: "wait"},
		event.Progress{Disk: "vda", Size: 9, Scanned: 8, Found: 7, Total: 6, Done: 5, Zero: 4, Written: 3, Traffic: traffic},
		event.Summary{Run: "0123456789ab", Domain: "vm1", State: "s", Checkpoint: "c", Kind: event.KindFull, Consistency: "crash", ChangedBytes: 9, ZeroBytes: 1,
			Transport: event.TransportSSH, NotDirect: "no way", Traffic: traffic, Transfer: time.Second, Duration: 2 * time.Second,
			Frozen: 125 * time.Millisecond, Group: &event.Group{ID: "0123456789ab", Name: "shop", Members: []string{"vm1", "vm2"}, OneInstant: true},
			Disks: []event.DiskSummary{{Disk: "vda", Kind: event.KindFull, ChangedBytes: 9, ZeroBytes: 1}}},
		event.Skipped{Run: "0123456789ab", Domain: "vm1", ChangedBytes: 1, MinChanged: 2, Duration: time.Second},
	} {
		line, err := EncodeJSON(e, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		back, err := DecodeJSON(line)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(e, back); diff != "" {
			t.Errorf("%s -want +got\n%s", line, diff)
		}
	}
	if e, err := DecodeJSON([]byte(`{"event":"of-a-later-release","x":1}`)); e != nil || err != nil {
		t.Errorf("%v, %v", e, err)
	}
	if _, err := DecodeJSON([]byte(`{"event":"summary","disks":7}`)); err == nil {
		t.Error("nonsense was read")
	}
}
