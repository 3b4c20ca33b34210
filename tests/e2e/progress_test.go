package e2e

import (
	"testing"

	"vmsync/tests/lab"
)

func TestProgressAndSummaryTellWhatWasMoved(t *testing.T) {
	m := machine(t, qcow2("vda", 256*mib), qcow2("vdb", 64*mib))
	dirty(t, m, "vda", 1*mib, 20*mib, 0xab)
	dirty(t, m, "vdb", 0, 5*mib, 0xcd)
	sync(t, m.Name())
	dirty(t, m, "vda", 30*mib, 10*mib, 0x17)
	dirty(t, m, "vda", 2*mib, 3*mib, lab.Zero)

	o := trySync(t, m.Name(), "--compress", "zstd")
	s := succeeded(t, o)
	latest := map[string]event{}
	for _, e := range o.events {
		if e.Event == "progress" {
			latest[e.Disk] = e
		}
	}
	for disk, want := range map[string]struct{ size, changed, zero int64 }{"vda": {256 * mib, 13 * mib, 3 * mib}, "vdb": {64 * mib, 0, 0}} {
		p := latest[disk]
		if p.SizeBytes != want.size || p.ScannedBytes != want.size || p.FoundBytes != want.changed || p.TotalBytes != want.changed ||
			p.DoneBytes != want.changed || p.ZeroBytes != want.zero || p.WrittenBytes != want.changed {
			t.Errorf("the last progress of %s is %+v, want %+v", disk, p, want)
		}
	}
	zstd := s.Codecs["zstd"]
	if len(s.Codecs) != 1 || zstd.Raw != 10*mib || zstd.Frames < 10 || zstd.Stored <= 0 || zstd.Stored > mib {
		t.Errorf("10 MiB of one byte were sent as %+v", s.Codecs)
	}
	if s.Frames <= zstd.Frames || s.SentBytes <= zstd.Stored || s.Ratio < 10 {
		t.Errorf("%d frames, %d bytes, ratio %v", s.Frames, s.SentBytes, s.Ratio)
	}
	if s.Transfer <= 0 || s.Transfer > s.Duration || s.SentRate <= 0 {
		t.Errorf("%v bytes per second for %v of %v seconds", s.SentRate, s.Transfer, s.Duration)
	}
}

// TestResyncTellsHowFarTheReadingIs: the target reads back what it holds before the
// guest is touched, which may last.
func TestResyncTellsHowFarTheReadingIs(t *testing.T) {
	m := machine(t, qcow2("vda", 256*mib))
	randomData(t, m, "vda", 0, 8*mib)
	sync(t, m.Name())
	o := trySync(t, m.Name(), "--resync")
	succeeded(t, o)
	var read event
	for _, e := range o.events {
		if e.Event == "phase_finished" && e.Phase == "begin" {
			break
		}
		if e.Event == "progress" {
			read = e
		}
	}
	if read.Disk != "vda" || read.SizeBytes != 256*mib || read.ScannedBytes != 256*mib {
		t.Errorf("the last progress before the copy is %+v", read)
	}
	sameAsSource(t, m, "vda")
}
