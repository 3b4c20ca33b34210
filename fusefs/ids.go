package fusefs

import (
	"errors"
	"hash/fnv"

	"github.com/hanwen/go-fuse/v2/fuse"

	"vmsync/fusefs/filesystem"
)

// The kernel knows a file by a number, its node id, which is its inode number as
// well. Those of the store's part have the highest bit set. Of a guest's file the
// lowest fileBits are those of its number in its filesystem, and the bits above are the number of a
// [span]: of a filesystem, and the other bits of the file's number in it, which most
// often are 0. The root is fuse.FUSE_ROOT_ID, which no guest's file is: spans are numbered
// from 1.
const (
	storeBit = 1 << 63
	fileBits = 40
	spanBits = 63 - fileBits
	lowMask  = 1<<fileBits - 1
)

// maxSpans bounds the spans of one volume. A btrfs has one for each of its subvolumes, an xfs
// one for 512 TiB. Only who makes up numbers needs more.
const maxSpans = 1 << 16

// A span is all files of a volume whose numbers differ in the lowest fileBits alone.
type span struct {
	volume *guestFS
	number uint32
	high   uint64 // the other bits
}

func isGuest(node uint64) bool { return node&storeBit == 0 && node != fuse.FUSE_ROOT_ID }

// storeIno is the inode number of a node in the store's part, by its key: always the
// same for the same key.
func storeIno(key string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(key)) // it cannot fail
	return h.Sum64() | storeBit
}

// byNode returns the guest's file that a node id stands for, a nil volume if there is none.
func (s *sessions) byNode(node uint64) (*guestFS, filesystem.ID) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	at := s.spans[uint32(node>>fileBits)]
	if at == nil {
		return nil, 0
	}
	return at.volume, filesystem.ID(at.high | node&lowMask)
}

// node is the node id of a file of the filesystem.
func (v *guestFS) node(id filesystem.ID) (uint64, error) {
	high := uint64(id) &^ lowMask
	at := v.latest.Load()
	if at == nil || at.high != high {
		var err error
		if at, err = v.session.replica.tree.sessions.span(v, high); err != nil {
			return 0, err
		}
		v.latest.Store(at)
	}
	return uint64(at.number)<<fileBits | uint64(id)&lowMask, nil
}

var errTooManySpans = errors.New("its files' numbers are too far apart to tell them all to the kernel")

// span returns the span of a volume with those high bits.
func (s *sessions) span(v *guestFS, high uint64) (*span, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at := v.spans[high]; at != nil {
		return at, nil
	}
	if len(v.spans) >= maxSpans || len(s.spans) >= 1<<(spanBits-1) {
		return nil, errTooManySpans
	}
	at := &span{volume: v, high: high}
	for at.number == 0 || s.spans[at.number] != nil {
		s.last = (s.last + 1) % (1 << spanBits)
		at.number = s.last
	}
	v.spans[high], s.spans[at.number] = at, at
	return at, nil
}
