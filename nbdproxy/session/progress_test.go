package session_test

import (
	"testing"

	"vmsync/nbdproxy/spec"
)

// checkProgress makes sure that the progress of a transfer never goes back and ends
// with what the done event says. Only a source scans.
func checkProgress(t testing.TB, events []spec.Event, source bool) {
	t.Helper()
	latest := map[string]spec.Progress{}
	for _, ev := range events {
		if ev.Event != spec.EventProgress {
			continue
		}
		p, was := *ev.Progress, latest[ev.Progress.Disk]
		if p.Done < was.Done || p.Zero < was.Zero || p.Same < was.Same || p.Scanned < was.Scanned || p.Found < was.Found || p.Traffic.Wire < was.Traffic.Wire {
			t.Errorf("progress went from %+v to %+v", was, p)
		}
		if p.Zero+p.Same > p.Done || p.Found > p.Scanned || p.Total > p.Size || p.Total > 0 && p.Done > p.Total || source && p.Done > p.Found {
			t.Errorf("a part is more than its whole: %+v", p)
		}
		latest[p.Disk] = p
	}
	for _, p := range latest {
		if p.Same != 0 && !source {
			t.Errorf("a receiver compares nothing: %+v", p)
		}
	}
	done := events[len(events)-1]
	var data int64
	for _, d := range done.Disks {
		data += d.DataBytes
		p := latest[d.Name]
		changed := d.DataBytes + d.ZeroBytes + p.Same
		want := spec.Progress{Disk: d.Name, Size: p.Size, Total: changed, Done: changed, Zero: d.ZeroBytes, Same: p.Same, Traffic: p.Traffic}
		if source {
			want.Scanned, want.Found = p.Size, changed
		}
		if p != want && (changed > 0 || source) {
			t.Errorf("the last progress of disk %s is %+v, want %+v", d.Name, p, want)
		}
	}
	if raw := done.Traffic.None.Raw + done.Traffic.S2.Raw + done.Traffic.Zstd.Raw; raw != data {
		t.Errorf("the codecs carried %d bytes, the disks have %d", raw, data)
	}
}
