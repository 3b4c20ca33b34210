package stream

import (
	"sync/atomic"

	"vmsync/nbdproxy/spec"
)

// counters count a stream's data and zero frames. The zero value is ready; it is
// safe for concurrent use.
type counters struct {
	zeros  atomic.Int64
	codecs [CodecZstd + 1]codecCounters
}

type codecCounters struct{ frames, raw, stored atomic.Int64 }

// add counts a data or zero frame, whose codec must be a known one. raw and stored
// are the payload's bytes before and after compression.
func (c *counters) add(kind Kind, codec Codec, raw, stored int) {
	if kind == KindZero {
		c.zeros.Add(1)
		return
	}
	n := &c.codecs[codec]
	n.frames.Add(1)
	n.raw.Add(int64(raw))
	n.stored.Add(int64(stored))
}

// traffic is what was counted so far. Frames that are being added at the same time
// may be in some of the numbers and not in others.
func (c *counters) traffic(wire int64) spec.Traffic {
	of := func(codec Codec) spec.CodecTraffic {
		n := &c.codecs[codec]
		return spec.CodecTraffic{Frames: n.frames.Load(), Raw: n.raw.Load(), Stored: n.stored.Load()}
	}
	return spec.Traffic{Wire: wire, ZeroFrames: c.zeros.Load(), None: of(CodecNone), S2: of(CodecS2), Zstd: of(CodecZstd)}
}

// Traffic returns what was written so far. It is safe for concurrent use.
func (e *Encoder) Traffic() spec.Traffic { return e.count.traffic(e.Wire()) }

// Traffic returns what was read so far. It is safe for concurrent use.
func (d *Decoder) Traffic() spec.Traffic { return d.count.traffic(d.Wire()) }
