package ntfs

import (
	"fmt"
	"iter"

	"golang.org/x/sys/unix"

	"vmsync/fusefs/filesystem"
	"vmsync/fusefs/filesystem/internal/utf16le"
)

// Lookup implements filesystem.FS.
func (v *volume) Lookup(id filesystem.ID, name string) (filesystem.ID, error) {
	dir, err := v.directory(id)
	if err != nil {
		return 0, err
	}
	units, ok := utf16le.Encode(name)
	if !ok || len(units) == 0 || len(units) > maxUnits {
		return 0, notExist(dir, name)
	}
	for _, compare := range []func([]uint16, []byte) int{v.compare, v.compareFolded} {
		found, err := v.search(dir, units, compare)
		if err != nil {
			return 0, err
		}
		if found != 0 {
			return filesystem.ID(found), nil
		}
	}
	return 0, notExist(dir, name)
}

func notExist(dir *directory, name string) error {
	return fmt.Errorf("%q in directory %d: %w", name, dir.number, filesystem.ErrNotExist)
}

// search walks down the B-tree, 0 where the name is not in it.
func (v *volume) search(dir *directory, name []uint16, compare func([]uint16, []byte) int) (reference, error) {
	node := dir.root
	for range maxDepth {
		var found reference
		child := int64(noChild)
		err := eachEntry(node, func(e *indexEntry) bool {
			order := -1
			if e.name != nil {
				order = compare(name, e.name)
			}
			switch {
			case order > 0:
				return true
			case order < 0:
				child = e.child
			case !e.hidden():
				found = e.ref
			}
			return false
		})
		if err != nil {
			return 0, fmt.Errorf("directory %d: %w", dir.number, err)
		}
		if found != 0 || child == noChild {
			return found, nil
		}
		if node, err = v.node(dir, child); err != nil {
			return 0, err
		}
	}
	return 0, corrupt("directory %d is deeper than %d blocks", dir.number, maxDepth)
}

// Attributes of a file that matter here, as its name in an index has them.
const (
	fileSystem    = 0x4
	fileReparse   = 0x400
	fileOffline   = 0x1000
	fileRecall    = 0x400000
	fileDirectory = 0x10000000
)

// ReadDir implements filesystem.FS. It reads the blocks in the order in which they lie, not
// the tree.
func (v *volume) ReadDir(id filesystem.ID) iter.Seq2[filesystem.Entry, error] {
	return func(yield func(filesystem.Entry, error) bool) {
		dir, err := v.directory(id)
		if err == nil {
			err = v.readDir(dir, func(e filesystem.Entry) bool { return yield(e, nil) })
		}
		if err != nil {
			yield(filesystem.Entry{}, err)
		}
	}
}

func (v *volume) readDir(dir *directory, yield func(filesystem.Entry) bool) error {
	more := true
	list := func(e *indexEntry) bool {
		if e.name != nil && !e.hidden() && e.namespace != namespaceDOS {
			more = yield(filesystem.Entry{Name: fileName(e.name), ID: filesystem.ID(e.ref), Mode: e.kind()})
		}
		return more
	}
	if err := eachEntry(dir.root, list); err != nil || !more {
		return wrapDir(dir, err)
	}
	if dir.blocks == nil {
		return nil
	}
	if dir.inUse == nil {
		return corrupt("directory %d does not say which of its blocks are in use", dir.number)
	}
	var bits [sectorSize]byte
	for block, count := int64(0), dir.blocks.Size()/dir.blockSize; block < count; block++ {
		if block%(8*sectorSize) == 0 {
			clear(bits[:])
			left := max(0, dir.inUse.Size()-block/8)
			if _, err := dir.inUse.read(bits[:min(left, sectorSize)], min(block/8, dir.inUse.Size())); err != nil {
				return wrapDir(dir, err)
			}
		}
		if bits[block/8%sectorSize]>>(block%8)&1 == 0 {
			continue
		}
		node, err := v.node(dir, block*(dir.blockSize/dir.vcnSize))
		if err != nil {
			return err
		}
		if err := eachEntry(node, list); err != nil || !more {
			return wrapDir(dir, err)
		}
	}
	return nil
}

func wrapDir(dir *directory, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("directory %d: %w", dir.number, err)
}

// kind is the type of the file where its name's attributes are enough to tell.
func (e *indexEntry) kind() uint32 {
	switch {
	case e.flags&(fileReparse|fileSystem) != 0:
		return 0
	case e.flags&fileDirectory != 0:
		return unix.S_IFDIR
	default:
		return unix.S_IFREG
	}
}
