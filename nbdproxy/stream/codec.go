package stream

import (
	"fmt"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
)

// Codec says how a frame's payload is stored.
type Codec uint8

// Codecs of version 1.
const (
	CodecNone Codec = 0
	CodecS2   Codec = 1 // one S2 block
	CodecZstd Codec = 2 // zstd frames
)

func (c Codec) known() bool { return c <= CodecZstd }

// Mode is the sender's wish for compression.
type Mode string

// Modes. Each leaves payloads that do not shrink as they are.
const (
	ModeAuto Mode = "auto"
	ModeNone Mode = "none"
	ModeS2   Mode = "s2"
	ModeZstd Mode = "zstd"
)

// ParseMode reads a mode; the empty string is [ModeAuto].
func ParseMode(s string) (Mode, error) {
	switch m := Mode(s); m {
	case "":
		return ModeAuto, nil
	case ModeAuto, ModeNone, ModeS2, ModeZstd:
		return m, nil
	}
	return "", fmt.Errorf("unknown compression %q: use auto, none, s2 or zstd", s)
}

// choose picks the codec to try on a payload.
func choose(m Mode, payload []byte) Codec {
	switch m {
	case ModeNone:
		return CodecNone
	case ModeS2:
		return CodecS2
	case ModeZstd:
		return CodecZstd
	}
	if !looksCompressible(payload) {
		return CodecNone
	}
	return CodecZstd
}

// pays tells whether a compressed form is worth the receiver's work: it must save
// a twentieth.
func pays(raw, stored int) bool { return stored <= raw-raw/20-1 }

// compressor compresses payloads for one encoder. It is safe for concurrent use.
type compressor struct {
	mode Mode
	zstd *zstd.Encoder
}

func newCompressor(m Mode) (*compressor, error) {
	// The stream has hashes of its own. With no more than one payload to look back
	// on, a larger window would only cost memory.
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderCRC(false),
		zstd.WithWindowSize(MaxPayload), zstd.WithSingleSegment(true), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return nil, fmt.Errorf("making the zstd encoder: %w", err)
	}
	return &compressor{mode: m, zstd: z}, nil
}

// compress returns payload as it is to be stored, in dst's memory or in its own.
func (c *compressor) compress(dst, payload []byte) (Codec, []byte) {
	codec := choose(c.mode, payload)
	var out []byte
	switch codec {
	case CodecS2:
		out = s2.Encode(dst[:cap(dst)], payload)
	case CodecZstd:
		out = c.zstd.EncodeAll(payload, dst[:0])
	}
	if codec == CodecNone || !pays(len(payload), len(out)) {
		return CodecNone, payload
	}
	return codec, out
}

// compressBound is the memory that compress needs for a payload of MaxPayload.
func compressBound() int { return s2.MaxEncodedLen(MaxPayload) }

// newDecompressor makes the decoder for CodecZstd. It never takes memory for its
// output: that is bounded by the buffer it is given.
func newDecompressor() (*zstd.Decoder, error) {
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxWindow(8<<20),
		zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		return nil, fmt.Errorf("making the zstd decoder: %w", err)
	}
	return z, nil
}

// decompress fills dst, whose length is what the frame announces.
func decompress(z *zstd.Decoder, codec Codec, dst, stored []byte) error {
	var out []byte
	var err error
	switch codec {
	case CodecS2:
		// Asked first: s2 would take memory for whatever length a block claims.
		n, lerr := s2.DecodedLen(stored)
		if lerr != nil || n != len(dst) {
			return fmt.Errorf("s2 block of %d bytes where the frame has %d", n, len(dst))
		}
		out, err = s2.Decode(dst, stored)
	case CodecZstd:
		out, err = z.DecodeAll(stored, dst[:0:len(dst)])
	default:
		return fmt.Errorf("unknown codec %d", codec)
	}
	if err != nil {
		return err
	}
	if len(out) != len(dst) || &out[0] != &dst[0] {
		return fmt.Errorf("payload of %d bytes where the frame has %d", len(out), len(dst))
	}
	return nil
}
