package xfs

import (
	"vmsync/fusefs/device"
	"vmsync/fusefs/filesystem"
)

// What is kept of metadata that was read, in bytes.
const (
	blockCacheSize = 4 << 20
	inodeCacheSize = 1 << 20
)

// fsys is an open filesystem. Nothing in it changes but the caches, which lock.
type fsys struct {
	dev      device.Device // with what the log holds
	sb       *superblock
	replayed bool
	notes    []string
	blocks   *cache
	inodes   *cache
	counters counters
}

var _ filesystem.FS = (*fsys)(nil)

// Open opens the XFS on d. A log that holds changes is replayed in memory, which takes at
// most overlayLimit bytes for as long as the filesystem is in use. It returns
// ErrUnknown where d holds no XFS, ErrUnsupported for features that the reader does not
// know, ErrNeedsReplay where the log is on another device or cannot be replayed, and
// ErrCorrupt.
func Open(d device.Device) (filesystem.FS, error) {
	sb, err := readSuperblock(d)
	if err != nil {
		return nil, err
	}
	over, err := replay(d, sb)
	if err != nil {
		return nil, err
	}
	f := &fsys{
		dev: d, sb: sb,
		blocks: newCache(blockCacheSize),
		inodes: newCache(inodeCacheSize),
	}
	if over != nil {
		f.dev, f.replayed = over, true
		if f.sb, err = readSuperblock(over); err != nil {
			return nil, err
		}
	}
	f.count()
	root, err := f.inode(filesystem.ID(f.sb.root))
	if err != nil {
		return nil, err
	}
	if !root.isDir() {
		return nil, corrupt("the root is no directory")
	}
	return f, nil
}

// Root implements filesystem.FS.
func (f *fsys) Root() filesystem.ID { return filesystem.ID(f.sb.root) }

// Info implements filesystem.FS.
func (f *fsys) Info() filesystem.Info {
	info := filesystem.Info{
		Type: "xfs", Label: f.sb.label, UUID: f.sb.uuidString(),
		BlockSize: f.sb.blockSize, NameMax: 255,
		Replayed: f.replayed, Notes: f.notes,
	}
	f.counters.fill(&info, f.sb)
	return info
}

// block returns one block of the filesystem as verify has accepted it.
func (f *fsys) block(k kind, number uint64, verify func(b []byte, at int64) error) ([]byte, error) {
	name := key{kind: k, number: number}
	if b, ok := f.blocks.get(name); ok {
		return b.([]byte), nil
	}
	at, err := f.sb.address(number, 1)
	if err != nil {
		return nil, err
	}
	b := make([]byte, f.sb.blockSize)
	if _, err := f.dev.ReadAt(b, at); err != nil {
		return nil, err
	}
	if err := verify(b, at); err != nil {
		return nil, err
	}
	f.blocks.put(name, b, len(b))
	return b, nil
}
