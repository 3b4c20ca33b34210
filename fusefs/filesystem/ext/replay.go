package ext

import (
	"cmp"
	"fmt"
	"slices"
	"sort"

	"vmsync/fusefs/device"
	"vmsync/fusefs/filesystem"
)

// logged is a block in the journal.
type logged struct {
	home     uint64
	place    uint64
	sequence uint32
	sum      uint32
	escaped  bool
	revoked  bool
}

// replay returns what lies on d once the journal has been replayed; nil where there is
// nothing to replay.
func replay(r *reader, d device.Device) (*overlay, error) {
	if r.sb.compat&compatJournal == 0 {
		return nil, nil
	}
	j, err := openJournal(r)
	if err != nil {
		return nil, err
	}
	if j.start == 0 {
		return nil, nil
	}
	end, err := j.scan()
	if err != nil {
		return nil, err
	}
	if j.incompat&journalFastCommit != 0 {
		pending, err := j.fastCommits(end)
		if err != nil {
			return nil, err
		}
		if pending {
			return nil, fmt.Errorf("ext: %w: it holds fast commits", filesystem.ErrNeedsReplay)
		}
	}
	blocks, err := j.collect(end, uint64(d.Size())>>r.sb.blockBits)
	if err != nil {
		return nil, err
	}
	if err := j.revoke(end, blocks); err != nil {
		return nil, err
	}
	return j.overlay(d, blocks)
}

// each calls visit with the descriptor and revoke blocks of all transactions before end,
// in order, and where what follows the block is.
func (j *journal) each(end uint32, visit func(b []byte, kind, sequence uint32, next uint64) error) error {
	b := make([]byte, j.r.sb.blockSize)
	at := j.start
	for sequence := j.sequence; sequence != end; {
		if err := j.read(b, at); err != nil {
			return err
		}
		kind := be.Uint32(b[4:])
		at = j.after(at, 1)
		switch kind {
		case journalCommit:
			sequence++
			continue
		case journalDescriptor, journalRevoke:
			if !j.intact(b) {
				return corrupt("the checksum of a block of the journal's transaction %d is wrong", sequence)
			}
		}
		if err := visit(b, kind, sequence, at); err != nil {
			return err
		}
		if kind == journalDescriptor {
			at = j.after(at, j.countTags(b))
		}
	}
	return nil
}

// collect returns the last version of every block in the journal, in the order of their
// homes, of which there are so many.
func (j *journal) collect(end uint32, homes uint64) ([]logged, error) {
	var blocks []logged
	err := j.each(end, func(b []byte, kind, sequence uint32, next uint64) error {
		if kind != journalDescriptor {
			return nil
		}
		for tag := range j.tags(b) {
			place, err := j.place(next)
			if err != nil {
				return err
			}
			if tag.home >= homes {
				return corrupt("the journal holds block %d of %d", tag.home, homes)
			}
			blocks = append(blocks, logged{home: tag.home, place: place, sequence: sequence, sum: tag.sum, escaped: tag.escaped})
			next = j.after(next, 1)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(blocks, func(a, b logged) int { return cmp.Compare(a.home, b.home) })
	last := blocks[:0]
	for n, b := range blocks {
		if n+1 == len(blocks) || blocks[n+1].home != b.home {
			last = append(last, b)
		}
	}
	return last, nil
}

// revoke marks the blocks that a transaction as late as their own, or a later one, took
// out of the journal: they hold something else now.
func (j *journal) revoke(end uint32, blocks []logged) error {
	return j.each(end, func(b []byte, kind, sequence uint32, _ uint64) error {
		if kind != journalRevoke {
			return nil
		}
		homes, err := j.revoked(b)
		if err != nil {
			return err
		}
		for home := range homes {
			n, found := slices.BinarySearchFunc(blocks, home, func(b logged, home uint64) int { return cmp.Compare(b.home, home) })
			if found && int32(blocks[n].sequence-sequence) <= 0 {
				blocks[n].revoked = true
			}
		}
		return nil
	})
}

// overlay verifies the blocks and puts them over d.
func (j *journal) overlay(d device.Device, blocks []logged) (*overlay, error) {
	o := &overlay{base: d, blockSize: j.r.sb.blockSize}
	b := make([]byte, j.r.sb.blockSize)
	for _, block := range blocks {
		if block.revoked {
			continue
		}
		if j.checksums() {
			if err := j.r.read(b, block.place); err != nil {
				return nil, err
			}
			if !j.blockIntact(b, block.sequence, block.sum) {
				return nil, corrupt("the checksum of block %d in the journal is wrong", block.home)
			}
		}
		at := block.place
		if block.escaped {
			at |= overlayEscaped
		}
		o.blocks = append(o.blocks, overlaid{block.home, at})
	}
	o.blocks = slices.Clip(o.blocks)
	return o, nil
}

// overlay is a device of which some blocks are read from another place of it.
type overlay struct {
	base      device.Device
	blockSize int64
	blocks    []overlaid // in the order of their homes
}

type overlaid struct {
	home  uint64
	place uint64 // and overlayEscaped
}

// overlayEscaped marks a block whose first four bytes are the journal's magic, which the
// journal does not store.
const overlayEscaped = 1 << 63

// ReadAt implements io.ReaderAt.
func (o *overlay) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return o.base.ReadAt(p, off)
	}
	n := 0
	next := sort.Search(len(o.blocks), func(k int) bool { return int64(o.blocks[k].home+1)*o.blockSize > off })
	for n < len(p) {
		at := off + int64(n)
		part := p[n:]
		if next == len(o.blocks) || int64(o.blocks[next].home)*o.blockSize >= at+int64(len(part)) {
			m, err := o.base.ReadAt(part, at)
			return n + m, err
		}
		block := o.blocks[next]
		start := int64(block.home) * o.blockSize
		var m int
		var err error
		if at < start {
			part = part[:start-at]
			m, err = o.base.ReadAt(part, at)
		} else {
			part = part[:min(int64(len(part)), start+o.blockSize-at)]
			m, err = o.readBlock(part, block.place, at-start)
			next++
		}
		n += m
		if m < len(part) {
			return n, err
		}
	}
	return n, nil
}

// readBlock reads a part of a block in the journal.
func (o *overlay) readBlock(p []byte, place uint64, skip int64) (int, error) {
	n, err := o.base.ReadAt(p, int64(place&^overlayEscaped)*o.blockSize+skip)
	if place&overlayEscaped != 0 && skip < 4 {
		var magic [4]byte
		be.PutUint32(magic[:], journalMagic)
		copy(p[:n], magic[skip:])
	}
	return n, err
}
