package stream

import (
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"

	"vmsync/nbdproxy/spec"
)

// maxEncoders bounds the zstd encoders at work at once: each takes some MiB.
const maxEncoders = 8

// compressor compresses payloads for one encoder. It is safe for concurrent use.
type compressor struct {
	auto  bool
	zstds [rungs]lazyZstd
	rung  atomic.Uint32 // what is in use; fixed unless auto

	linkBound atomic.Bool // since a window that was busy, until one that is idle

	stallers []staller
	mu       sync.Mutex // guards what follows
	adapter  adapter
	window   window
	began    time.Time     // of window
	stalls   time.Duration // of all connections, when window began
}

// staller is a connection that knows how long it has waited for its other end.
type staller interface{ Stalled() time.Duration }

// lazyZstd is an encoder that is made when first used.
type lazyZstd struct {
	level zstd.EncoderLevel
	once  sync.Once
	enc   *zstd.Encoder
	err   error
}

func newCompressor(c spec.Compression, ws []io.Writer) (*compressor, error) {
	p := &compressor{began: time.Now()}
	p.zstds[rungZstdFastest].level = zstd.SpeedFastest
	p.zstds[rungZstdDefault].level = zstd.SpeedDefault
	p.zstds[rungZstdBetter].level = zstd.SpeedBetterCompression
	// A small stream over a slow link is over before anything could be learned, and
	// over a fast one it does not matter.
	p.adapter.rung = rungZstdFastest
	switch c.Mode {
	case spec.ModeAuto, "":
		p.auto = true
	case spec.ModeNone:
		p.adapter.rung = rungNone
	case spec.ModeS2:
		p.adapter.rung = rungS2
	case spec.ModeZstd:
		p.zstds[rungZstdFastest].level = zstd.EncoderLevelFromZstd(c.Level)
	default:
		return nil, fmt.Errorf("unknown compression %q", c.Mode)
	}
	p.rung.Store(uint32(p.adapter.rung))
	for _, w := range ws {
		if s, ok := w.(staller); ok {
			p.stallers = append(p.stallers, s)
		}
	}
	return p, nil
}

func (z *lazyZstd) encoder() (*zstd.Encoder, error) {
	z.once.Do(func() {
		// The stream has hashes of its own. With no more than one payload to look back
		// on, a larger window would only cost memory.
		z.enc, z.err = zstd.NewWriter(nil, zstd.WithEncoderLevel(z.level), zstd.WithEncoderCRC(false),
			zstd.WithWindowSize(MaxPayload), zstd.WithSingleSegment(true), zstd.WithLowerEncoderMem(true),
			zstd.WithEncoderConcurrency(min(maxEncoders, runtime.GOMAXPROCS(0))))
	})
	return z.enc, z.err
}

// packed is a payload as it is to be stored.
type packed struct {
	codec Codec
	bytes []byte
	tried bool // it looked as if it would shrink
}

// compress returns payload as it is to be stored, in dst's memory or in its own.
func (c *compressor) compress(dst, payload []byte) (packed, error) {
	r := rung(c.rung.Load())
	if !c.auto && r == rungNone || !looksCompressible(payload) {
		return packed{CodecNone, payload, false}, nil
	}
	p := packed{CodecNone, payload, true}
	switch r {
	case rungNone:
		return p, nil
	case rungS2:
		p.codec, p.bytes = CodecS2, s2.Encode(dst[:cap(dst)], payload)
	default:
		enc, err := c.zstds[r].encoder()
		if err != nil {
			return p, fmt.Errorf("making the zstd encoder: %w", err)
		}
		p.codec, p.bytes = CodecZstd, enc.EncodeAll(payload, dst[:0])
	}
	if !pays(len(payload), len(p.bytes)) {
		p.codec, p.bytes = CodecNone, payload
	}
	return p, nil
}

// sent takes note of a payload that was written.
func (c *compressor) sent(p packed, raw int) {
	if !c.auto || len(c.stallers) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.window.raw += int64(raw)
	c.window.wire += int64(len(p.bytes))
	if p.tried {
		c.window.tried += int64(raw)
		c.window.kept += int64(len(p.bytes))
	}
	now := time.Now()
	c.window.elapsed = now.Sub(c.began)
	if !c.window.full() {
		return
	}
	var stalls time.Duration
	for _, s := range c.stallers {
		stalls += s.Stalled()
	}
	c.window.stalled = float64(stalls-c.stalls) / float64(c.window.elapsed) / float64(len(c.stallers))
	if s := c.window.stalled; s > busy || s < idle {
		c.linkBound.Store(s > busy)
	}
	c.adapter = c.adapter.next(c.window)
	c.rung.Store(uint32(c.adapter.rung))
	c.window, c.began, c.stalls = window{}, now, stalls
}

// compressBound is the memory that compress needs for a payload of MaxPayload.
func compressBound() int { return s2.MaxEncodedLen(MaxPayload) }
