package ext

import "math"

// run says where consecutive blocks of a file are. Blocks of a hole, and those that were
// allocated and never written, are at no place: they read as zeros.
type run struct {
	first  uint64 // block of the file
	length uint64 // blocks; at least 1
	place  uint64 // block of the filesystem, where data
	data   bool
}

func (r run) end() uint64 { return r.first + r.length }

// maxFileBlocks is how many blocks of a file can be mapped; what lies beyond is a hole.
const maxFileBlocks = 1 << 32

// runAt returns the run that begins at, or holds, a block of a file.
func (r *reader) runAt(i *inode, block uint64) (run, error) {
	if block >= maxFileBlocks {
		return run{first: block, length: math.MaxInt64 - block}, nil
	}
	var found run
	var err error
	if i.has(flagExtents) {
		found, err = r.extentAt(i, uint32(block))
	} else {
		found, err = r.indirectAt(i, uint32(block))
	}
	if err == nil && found.data && (found.place >= r.sb.blocks || found.length > r.sb.blocks-found.place) {
		err = corrupt("inode %d has %d blocks at %d, there are %d", i.number, found.length, found.place, r.sb.blocks)
	}
	return found, err
}

// longRunAt is like runAt, but goes on for up to limit blocks while what follows is at
// the next place, or is none either.
func (r *reader) longRunAt(i *inode, block, limit uint64) (run, error) {
	long, err := r.runAt(i, block)
	if err != nil {
		return run{}, err
	}
	for long.end() < block+limit {
		next, err := r.runAt(i, long.end())
		if err != nil || next.first != long.end() || next.data != long.data || (long.data && next.place != long.place+long.length) {
			break // an error is met again, and told, by who reads on
		}
		long.length += next.length
	}
	return long, nil
}
