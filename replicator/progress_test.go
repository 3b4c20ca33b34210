package replicator

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"vmsync/internal/event"
	"vmsync/nbdproxy/spec"
)

// sink keeps what was emitted.
type sink []event.Event

func (s *sink) Emit(e event.Event) { *s = append(*s, e) }

func TestProgressOfBothEndsIsOne(t *testing.T) {
	var s sink
	p := newProgress(&s)
	sent := Progress{Disk: "vda", Size: 100, Scanned: 90, Found: 50, Total: 60, Done: 40, Zero: 10,
		Traffic: spec.Traffic{Wire: 33, ZeroFrames: 2, None: spec.CodecTraffic{Frames: 1, Raw: 5, Stored: 5},
			Zstd: spec.CodecTraffic{Frames: 3, Raw: 25, Stored: 20}}}
	p.written(Progress{Disk: "vdb", Done: 7, Total: 9, Traffic: spec.Traffic{Wire: 1}})
	p.sent(sent)
	p.written(Progress{Disk: "vda", Done: 30, Total: 60, Traffic: spec.Traffic{Wire: 29}})
	want := event.Progress{Disk: "vda", Size: 100, Scanned: 90, Found: 50, Total: 60, Done: 40, Zero: 10,
		Traffic: event.Traffic{Bytes: 33, Frames: 6, Codecs: []event.CodecTraffic{
			{Codec: "none", Frames: 1, Raw: 5, Stored: 5}, {Codec: "zstd", Frames: 3, Raw: 25, Stored: 20}}}}
	after := want
	after.Written = 30
	if diff := cmp.Diff(sink{event.Progress{Disk: "vdb", Written: 7}, want, after}, s); diff != "" {
		t.Error(diff)
	}
	if got := want.Traffic.Ratio(); got != 1.2 {
		t.Errorf("30 bytes sent as 25 have a ratio of %v", got)
	}
	if got := (event.Traffic{Bytes: 9}).Ratio(); got != 0 {
		t.Errorf("a stream without data has a ratio of %v", got)
	}
}
