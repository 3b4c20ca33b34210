package export

import "vmsync/nbdproxy/stream"

// traits are what is known of a range of a disk before it is read.
type traits uint8

const (
	holdsData traits = 1 << iota // it may hold something else than zeros
	isDirty                      // a dirty bitmap names it
	isOwn                        // the top image holds it, not one below
)

// blockwise makes of ranges of any length runs of whole blocks: a block has the traits of
// all ranges that lie in it. Of the disk's last block that which is on the disk is the whole.
type blockwise struct {
	size int64 // bytes of the disk
	emit func(e stream.Extent, t traits) error

	end    int64  // of the ranges so far
	traits traits // of the block that end lies in, as far as it is known
}

// add takes the next range, which begins where the last one ended; the first at 0.
func (b *blockwise) add(length int64, t traits) error {
	for length > 0 {
		n := length / granule * granule
		if b.end+length == b.size {
			n = length
		}
		from := b.end
		if b.end%granule != 0 || n == 0 {
			from -= b.end % granule
			n = min(length, from+granule-b.end)
			b.traits |= t
		} else {
			b.traits = t
		}
		length -= n
		if b.end += n; b.end%granule != 0 && b.end != b.size {
			continue
		}
		if err := b.emit(stream.Extent{Offset: from, Length: b.end - from}, b.traits); err != nil {
			return err
		}
		b.traits = 0
	}
	return nil
}
