// Package stream encodes and decodes the vmsync stream: the compressed,
// checksummed sequence of one checkpoint's changed extents, of all its disks.
// docs/STREAM.md specifies the format; this package implements it for the wire,
// for pipes and for files alike.
//
// A stream goes over one connection or, for speed, over several. An [Encoder] is
// used by many goroutines at once: each hashes and compresses its own frame and
// writes it to a connection that is free. A [Decoder] is read by one goroutine for
// each connection, which checks the order, the bounds and the totals; the frames it
// hands out are decompressed and verified by any goroutine ([Frame.Open]). A
// stream counts only when [Decoder.Result] says so.
//
// The package knows no NBD and no files and must never: it neither opens
// anything nor starts goroutines. It takes memory only within the limits below,
// whatever the other side claims.
package stream

import "errors"

// Version of the format. A decoder refuses every other.
const Version = 2

// Limits of the format. Both sides enforce them.
const (
	MaxHeader  = 1 << 20 // bytes of JSON
	MaxDisks   = 1024
	MaxName    = 1024    // bytes of a domain's, checkpoint's or disk's name
	MaxSize    = 1 << 50 // bytes of one disk
	MaxExtents = 4096    // per frame
	MaxPayload = 1 << 20 // uncompressed bytes per frame
)

var (
	// ErrTruncated means that the stream ended before its end mark: the sender or
	// the connection broke off.
	ErrTruncated = errors.New("stream ends before its end mark")
	// ErrInvalid means that the stream is damaged, hostile or of another version.
	// What it carried must be thrown away.
	ErrInvalid = errors.New("invalid stream")
)

// Kind says what a frame is.
type Kind uint8

// Kinds of frames.
const (
	KindData    Kind = 1 // extents and their bytes
	KindZero    Kind = 2 // extents that read as zeros
	KindDiskEnd Kind = 3 // no more frames of this disk
	kindEnd     Kind = 4 // the end mark; a decoder returns it as io.EOF
	kindLaneEnd Kind = 5 // the end of a further connection, likewise
)

// Extent is a byte range of a disk.
type Extent struct {
	Offset int64 // bytes
	Length int64 // bytes, at least 1
}

// End is the offset of the first byte after the extent.
func (e Extent) End() int64 { return e.Offset + e.Length }

// DiskSum sums up one disk of a stream. Both ends compute it on their own.
type DiskSum struct {
	Frames    int64 // data and zero frames
	DataBytes int64 // carried as data, uncompressed
	ZeroBytes int64 // carried as zero extents
	// Digest is the sum of the frames' content hashes modulo 2^64. It does not
	// depend on the order of frames. It finds accidents; it is no proof against
	// somebody who makes streams.
	Digest uint64
}

// add counts one verified frame.
func (s *DiskSum) add(kind Kind, bytes int64, hash uint64) {
	s.Frames++
	s.Digest += hash
	if kind == KindData {
		s.DataBytes += bytes
	} else {
		s.ZeroBytes += bytes
	}
}
