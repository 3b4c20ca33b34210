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

// pays tells whether a compressed form is worth the receiver's work: it must save
// a twentieth.
func pays(raw, stored int) bool { return stored <= raw-raw/20-1 }

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
