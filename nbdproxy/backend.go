// Package nbdproxy is an NBD server: it offers exports, read-only or writable, to
// any NBD client over any listener, with or without TLS. The engine speaks the
// fixed newstyle handshake and structured replies, answers many requests of one
// connection at once and out of order, and knows nothing of where an export's
// content comes from: that is a [Backend]'s business.
//
// It must never trust a client: whatever one sends or refuses to read costs
// bounded memory and its own connection, nothing else. It must never say that an
// export can do what its backend cannot, and never answer a failed read with bytes.
package nbdproxy

import (
	"context"

	"github.com/pojntfx/go-nbd/pkg/backend"
)

// Backend is the content of an export. Its methods are called by many goroutines
// at once. ReadAt and WriteAt transfer all of p or return an error; they are
// called only with ranges within Size and aligned to the export's minimum block
// size, and must not keep p. Sync makes everything durable that was written
// before it was called.
//
// What a backend can do beyond that it says by implementing the other interfaces
// of this file. A read-only export's WriteAt and Sync are never called.
type Backend interface {
	backend.Backend
}

// StatusEntry is one entry of a block status: Length bytes share Flags, whose
// meaning is that of the metadata context.
type StatusEntry struct {
	Length int64 // bytes, at least 1
	Flags  uint32
}

// StatusReporter is a backend that knows its extents.
type StatusReporter interface {
	// Contexts lists the metadata contexts, "base:allocation" among them. The list
	// never changes.
	Contexts() []string
	// BlockStatus appends to entries, at most max, what is known of the length bytes
	// at offset in a context that Contexts lists. The entries begin at offset and
	// follow one another; they cover at least one byte and may cover less than length.
	// What they cover beyond it is ignored. Their lengths are multiples of the export's
	// minimum block size.
	BlockStatus(ctx context.Context, metaContext string, entries []StatusEntry, offset, length int64, max int) ([]StatusEntry, error)
}

// Zeroer is a writable backend that can make a range read as zeros without being
// sent them. mayUnmap allows it to deallocate the range; fast asks it to fail with
// an error that wraps unix.ENOTSUP rather than to be as slow as a write, and only then
// may it fail so.
type Zeroer interface {
	WriteZeroes(ctx context.Context, offset, length int64, mayUnmap, fast bool) error
}

// Trimmer is a writable backend that can be told that a range's content is no
// longer needed.
type Trimmer interface {
	Trim(ctx context.Context, offset, length int64) error
}

// Cacher is a backend that can be told that a range will soon be read.
type Cacher interface {
	Cache(ctx context.Context, offset, length int64) error
}

// Features says which of its abilities a backend has.
type Features struct {
	Zero, FastZero bool // see [Zeroer]; FastZero only with Zero
	Trim           bool // see [Trimmer]
	Cache          bool // see [Cacher]
	Flush          bool // Sync makes durable what was written
}

// Featured is a backend whose type says more than it can do: it learns from elsewhere which
// of the other interfaces it can honour. What it says never changes. Of a backend that is not
// Featured all that it implements is believed, and that its Sync works.
type Featured interface {
	Features() Features
}

// BlockSizes are an export's constraints on requests, in bytes; powers of two,
// except that Maximum need only be a multiple of Minimum.
type BlockSizes struct {
	Minimum   uint32 // 1 to 64 KiB; offsets and lengths of all requests are multiples of it
	Preferred uint32 // at least 512 and Minimum
	Maximum   uint32 // of the payload of one request; at most 32 MiB
}

// Export is one export of a server.
type Export struct {
	Name        string // what a client asks for; at most 4096 bytes
	Description string // for people; may be empty
	Backend     Backend
	ReadOnly    bool
	// MultiConn promises that what one connection wrote, and any of them flushed,
	// every other one sees.
	MultiConn  bool
	BlockSizes BlockSizes // the zero value stands for 1, 4096 and 32 MiB
}
