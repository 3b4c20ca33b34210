package replicator

import (
	"maps"
	"slices"
	"sync"

	"vmsync/internal/event"
	"vmsync/nbdproxy/spec"
)

// progress puts together what both ends tell about a transfer. It is safe for
// concurrent use.
type progress struct {
	out event.Sink

	mu    sync.Mutex
	disks map[string]event.Progress
}

func newProgress(out event.Sink) *progress {
	return &progress{out: out, disks: make(map[string]event.Progress)}
}

// sent takes what the source says.
func (p *progress) sent(s Progress) {
	p.update(s.Disk, func(e *event.Progress) {
		e.Size, e.Scanned, e.Found, e.Total = s.Size, s.Scanned, s.Found, s.Total
		e.Done, e.Zero, e.Traffic = s.Done, s.Zero, traffic(s.Traffic)
	})
}

// written takes what the target says.
func (p *progress) written(t Progress) {
	p.update(t.Disk, func(e *event.Progress) { e.Written = t.Done })
}

// update emits under the lock: what is emitted later is never older.
func (p *progress) update(disk string, change func(*event.Progress)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.disks[disk]
	e.Disk = disk
	change(&e)
	p.disks[disk] = e
	p.out.Emit(e)
}

// traffic is a stream's traffic for those who watch a run.
func traffic(t spec.Traffic) event.Traffic {
	codecs := map[string]spec.CodecTraffic{"none": t.None, "s2": t.S2, "zstd": t.Zstd}
	out := event.Traffic{Bytes: t.Wire, Frames: t.ZeroFrames}
	for _, name := range slices.Sorted(maps.Keys(codecs)) {
		c := codecs[name]
		out.Frames += c.Frames
		if c.Frames > 0 {
			out.Codecs = append(out.Codecs, event.CodecTraffic{Codec: name, Frames: c.Frames, Raw: c.Raw, Stored: c.Stored})
		}
	}
	return out
}
