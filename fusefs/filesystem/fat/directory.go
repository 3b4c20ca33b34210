package fat

import (
	"cmp"
	"fmt"
	"hash/maphash"
	"slices"
	"sort"

	"vmsync/fusefs/filesystem"
)

const (
	// maxDirSize is the most that a directory may have, in bytes: 65,536 entries.
	maxDirSize = 65536 * recordSize
	// scanSize is what is read of a directory at once, in bytes.
	scanSize = 64 << 10
)

// A directory is what is kept of one: where it lies, and an index of its names, since FAT
// has none. It never changes once it is made.
type directory struct {
	first   uint32 // its first cluster, 0 for the root of FAT12 and FAT16, and for an empty one
	extents []extent
	size    int64
	subdirs uint32
	index   []indexed // by hash
}

// An extent is a part of a directory that is in one piece.
type extent struct {
	at     int64 // within the directory
	offset int64 // on the device
	size   int64
}

// indexed says that a name of the given hash is the one of the entry at a slot, before which
// are the parts of its long name.
type indexed struct {
	hash  uint32
	slot  uint32
	parts uint8
}

// directory returns the directory of the given ID.
func (v *volume) directory(id filesystem.ID) (*directory, error) {
	first := v.layout.rootCluster
	if id != rootID {
		r, err := v.record(id)
		if err != nil {
			return nil, err
		}
		if !r.isDir() {
			return nil, fmt.Errorf("file %d: %w", id, filesystem.ErrNotDir)
		}
		first = r.cluster(v.layout.bits)
		if first == 0 {
			return &directory{}, nil
		}
	}
	if dir, found := v.dirs.Get(first); found {
		return dir, nil
	}
	dir := &directory{first: first}
	if err := v.layOut(dir); err != nil {
		return nil, fmt.Errorf("directory %d: %w", id, err)
	}
	err := v.scan(dir, 0, dir.slots(), func(e entry) bool {
		if e.record.isDir() {
			dir.subdirs++
		}
		dir.index = append(dir.index, indexed{v.hash(e.name), e.slot, e.parts})
		if e.short != e.name {
			dir.index = append(dir.index, indexed{v.hash(e.short), e.slot, e.parts})
		}
		return true
	})
	if err != nil {
		return nil, fmt.Errorf("directory %d: %w", id, err)
	}
	slices.SortFunc(dir.index, func(a, b indexed) int {
		return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(a.slot, b.slot))
	})
	v.dirs.Put(first, dir, 1+len(dir.index)+3*len(dir.extents))
	return dir, nil
}

// layOut follows a directory's clusters.
func (v *volume) layOut(dir *directory) error {
	if dir.first == 0 {
		dir.extents, dir.size = []extent{{0, v.layout.root, v.layout.rootSize}}, v.layout.rootSize
		return nil
	}
	if !v.layout.valid(dir.first) {
		return fmt.Errorf("it begins at cluster %d of %d: %w", dir.first, v.layout.clusters, filesystem.ErrCorrupt)
	}
	var c cursor
	for cluster, end := dir.first, false; !end; {
		if dir.size >= max(maxDirSize, v.layout.clusterSize) {
			return fmt.Errorf("it has more than %d bytes, or no end: %w", dir.size, filesystem.ErrCorrupt)
		}
		offset := v.layout.offset(cluster)
		if last := len(dir.extents) - 1; last >= 0 && dir.extents[last].offset+dir.extents[last].size == offset {
			dir.extents[last].size += v.layout.clusterSize
		} else {
			dir.extents = append(dir.extents, extent{dir.size, offset, v.layout.clusterSize})
		}
		dir.size += v.layout.clusterSize
		var err error
		if cluster, end, err = v.table.next(cluster, &c); err != nil {
			return err
		}
	}
	return nil
}

// offset returns where the byte at an offset of the directory is on the device, and how many
// follow it in one piece.
func (d *directory) offset(at int64) (offset, length int64) {
	i := sort.Search(len(d.extents), func(i int) bool { return d.extents[i].at > at }) - 1
	e := d.extents[i]
	return e.offset + at - e.at, e.at + e.size - at
}

// slots is how many entries a directory has room for.
func (d *directory) slots() int64 { return d.size / recordSize }

func (v *volume) hash(name string) uint32 {
	return uint32(maphash.String(v.seed, fold(name)))
}

// An entry is a file in a directory.
type entry struct {
	name   string
	short  string
	record record
	id     filesystem.ID
	slot   uint32 // of its record within the directory
	parts  uint8  // of its long name, 0 where it has none
}

// scan calls yield for the files of a directory whose entries are in the slots from, to to-1,
// until it returns false.
func (v *volume) scan(dir *directory, from, to int64, yield func(entry) bool) error {
	var long longName
	buf := make([]byte, min(scanSize, (to-from)*recordSize))
	for at := from * recordSize; at < to*recordSize; {
		offset, length := dir.offset(at)
		piece := buf[:min(int64(len(buf)), length, to*recordSize-at)]
		if err := readFull(v.dev, piece, offset); err != nil {
			return err
		}
		for i := 0; i < len(piece); i += recordSize {
			r := record(piece[i:])
			switch {
			case r.isLast():
				return nil
			case r.isLong() && !r.isFree():
				long.add(&r)
				continue
			case !r.isFree() && !r.isVolume() && !r.isDot():
				e := v.entry(dir, &r, &long, offset+int64(i))
				e.slot = uint32((at + int64(i)) / recordSize)
				if e.name != "" && e.name != "." && e.name != ".." && !yield(e) {
					return nil
				}
			}
			long.reset()
		}
		at += int64(len(piece))
	}
	return nil
}

// entry makes one of a record at an offset of the device and the long name before it.
func (v *volume) entry(dir *directory, r *record, long *longName, offset int64) entry {
	e := entry{record: *r, short: r.shortName(), id: v.identify(dir, r, offset)}
	var found bool
	if e.name, found = long.name(r); found {
		e.parts = uint8(long.parts)
	} else {
		e.name = e.short
	}
	return e
}

// identify returns the ID of the entry at an offset of the device.
func (v *volume) identify(dir *directory, r *record, offset int64) filesystem.ID {
	id := filesystem.ID(offset / recordSize)
	if first := r.cluster(v.layout.bits); r.isDir() && first != 0 && (first == dir.first || first == v.layout.rootCluster) {
		return id | loopID
	}
	return id
}
