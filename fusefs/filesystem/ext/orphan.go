package ext

import (
	"cmp"
	"fmt"
)

// orphansMost bounds how many orphans are looked at: files that were open when they were
// deleted, or were being cut, which is far fewer.
const orphansMost = 1 << 16

const orphanMagic = 0x0B10CA04 // at the end of a block of the orphan file

// orphans returns the files that the kernel cuts to their size when it mounts, because
// a truncation had not ended. Deleted files are among the orphans, too, but have no name.
func (r *reader) orphans() (map[uint32]bool, error) {
	if r.sb.state&stateErrors != 0 {
		return nil, nil // the kernel leaves them alone then
	}
	files := map[uint32]bool{}
	seen := map[uint32]bool{}
	for number := r.sb.lastOrphan; number != 0 && !seen[number] && len(seen) < orphansMost; {
		seen[number] = true
		i, err := r.anyInode(number)
		if err != nil {
			break // where the kernel ends, too
		}
		if i.links > 0 {
			files[number] = true
		}
		number = i.dtime
	}
	if r.sb.orphanFile != 0 {
		if err := r.orphanFile(files); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// orphanFile adds the orphans in the file for them.
func (r *reader) orphanFile(files map[uint32]bool) error {
	holder, err := r.anyInode(r.sb.orphanFile)
	if err != nil {
		return err
	}
	numbers := int(r.sb.blockSize/4) - 2
	end := min(uint64(holder.size)>>r.sb.blockBits, 512) // as many blocks as the kernel allows
	for block := uint64(0); block < end; block++ {
		found, err := r.runAt(holder, block)
		if err != nil || !found.data {
			return fmt.Errorf("the file of orphans, block %d: %w", block, cmp.Or(err, corrupt("a hole")))
		}
		place := found.place + block - found.first
		b, err := r.block(blockKey{place, holder.number}, nil)
		if err != nil {
			return err
		}
		tail := b[4*numbers:]
		if le.Uint32(tail) != orphanMagic {
			return corrupt("block %d of the file of orphans has no end", block)
		}
		if r.sb.checksums() && checksum(checksum64(holder.seed, place), b[:4*numbers]) != le.Uint32(tail[4:]) {
			return corrupt("the checksum of block %d of the file of orphans is wrong", block)
		}
		for n := range numbers {
			number := le.Uint32(b[4*n:])
			if number == 0 || len(files) >= orphansMost {
				continue
			}
			if i, err := r.anyInode(number); err == nil && i.links > 0 {
				files[number] = true
			}
		}
	}
	return nil
}
