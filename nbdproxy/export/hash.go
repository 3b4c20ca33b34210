package export

import (
	"context"
	"sync"

	"vmsync/internal/blockindex"
	"vmsync/nbdproxy/stream"
)

// HashDisk is one export to hash.
type HashDisk struct {
	Disk      // whose Bitmap names what is left out, and whose Known is not used
	Top  bool // only what the export's top image holds, not what is below it
	// Below is the size of the disk that the images below read as, in bytes; 0 for the
	// same. Only Top asks for it.
	Below int64
	// Index takes the hashes; nothing is set in it yet. The caller syncs it. See [Hash].
	Index *blockindex.File
}

// Hashed sums up a disk that was hashed.
type Hashed struct {
	DataBytes int64             // read
	Content   blockindex.Digest // of all that the index says
}

// partial tells whether blocks are left out. Then a block that is absent from the index
// is one of them, and one of zeros is set.
func (d *HashDisk) partial() bool { return d.Top || d.Bitmap != "" }

// own is the extent of the block that has to be taken for one of the top image's, for below it
// is of another length; of no length if there is none.
func (d *HashDisk) own() stream.Extent {
	end := min(d.Below, d.Size)
	if !d.Top || d.Below == 0 || d.Below == d.Size || end%granule == 0 {
		return stream.Extent{}
	}
	from := end / granule * granule
	return stream.Extent{Offset: from, Length: min(granule, d.Size-from)}
}

// fate decides on a block: unchanged means that it is left out.
func (d *HashDisk) fate(t traits) class {
	switch {
	case t&isDirty != 0, d.Top && t&isOwn == 0:
		return unchanged
	case t&holdsData != 0:
		return data
	default:
		return zero
	}
}

// CheckHash connects to each export and makes sure that it is what disks says. Its
// error is an [*Error].
func CheckHash(ctx context.Context, disks []HashDisk) error {
	for i := range disks {
		s, err := newBlockSurvey(ctx, &disks[i])
		if err != nil {
			return err
		}
		s.close()
	}
	return nil
}

// Hash sets in each disk's index the hash of every block that is data, of what it reads as
// through all of the export's images. Blocks of which the bitmap names any part are left out,
// and so are, with Top, those of which the top image holds no part, but for the one that
// Below ends in. Of the others those that
// read as zeros are set only if any can have been left out: in an index of everything an
// absent block is one of zeros. Holes are not read.
//
// meters has one entry per disk; they count what is read. A failure of an export is
// an [*Error], one of an index an [*IndexError].
func Hash(ctx context.Context, disks []HashDisk, meters []*stream.Meter) ([]Hashed, error) {
	sums := make([]Hashed, len(disks))
	err := pumpAll(ctx, len(disks), func() {}, func(ctx context.Context, i int, p *pump) error {
		h := hasher{pump: p, disk: &disks[i], meter: meters[i]}
		if err := h.run(ctx); err != nil {
			return err
		}
		sums[i] = h.sum
		return nil
	})
	return sums, err
}

// hasher hashes one disk.
type hasher struct {
	*pump
	disk  *HashDisk
	meter *stream.Meter

	mu  sync.Mutex // guards what follows
	sum Hashed
}

func (h *hasher) run(ctx context.Context) error {
	survey, err := newBlockSurvey(ctx, h.disk)
	if err != nil {
		return err
	}
	defer survey.close()
	return h.pump.run(ctx, &h.disk.Disk, func() error { return h.find(ctx, survey) }, func(int) error { return h.work(ctx) })
}

// find makes frames of the blocks that are to be read, and sets those that are known to be zeros.
func (h *hasher) find(ctx context.Context, survey *blockSurvey) error {
	p := h.packer(ctx, h.setZeros)
	err := survey.walk(ctx, func(e stream.Extent, t traits) error {
		switch c := h.disk.fate(t); {
		case c == data:
			h.meter.Find(e)
			return p.add(e, c)
		case c == zero && h.disk.partial():
			return p.add(e, c)
		}
		return nil
	}, h.meter.Scanned.Store)
	if err != nil {
		return err
	}
	h.meter.FoundAll()
	return p.flush()
}

// setZeros sets blocks that need not be read.
func (h *hasher) setZeros(extents []stream.Extent) error {
	for _, e := range extents {
		for block := e.Offset / granule; block*granule < e.End(); block++ {
			if err := h.set(block, blockindex.Zero); err != nil {
				return err
			}
		}
	}
	return nil
}

func (h *hasher) set(block int64, hash blockindex.Hash) error {
	if hash == blockindex.Zero && !h.disk.partial() {
		return nil
	}
	if err := h.disk.Index.Set(block, hash); err != nil {
		return &IndexError{h.disk.Name, err}
	}
	return nil
}

// work reads and hashes frames until there are no more.
func (h *hasher) work(ctx context.Context) error {
	req := newRequest()
	var sum Hashed
	for {
		extents, err := h.frames.take(ctx, false)
		if extents == nil || err != nil {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.sum.DataBytes += sum.DataBytes
			h.sum.Content.Merge(sum.Content)
			return err
		}
		payload, err := h.reader.read(ctx, &req, extents)
		if err != nil {
			return err
		}
		if err := h.hash(extents, payload, &sum.Content); err != nil {
			return err
		}
		h.recycle(extents)
		h.meter.Handle(stream.KindData, int64(len(payload)))
		sum.DataBytes += int64(len(payload))
	}
}

// hash hashes extents of whole blocks, whose bytes are payload.
func (h *hasher) hash(extents []stream.Extent, payload []byte, content *blockindex.Digest) error {
	for _, e := range extents {
		for block := e.Offset / granule; block*granule < e.End(); block++ {
			n := min(granule, e.End()-block*granule)
			hash := blockindex.Sum(payload[:n])
			payload = payload[n:]
			content.Add(block, hash)
			if err := h.set(block, hash); err != nil {
				return err
			}
		}
	}
	return nil
}
