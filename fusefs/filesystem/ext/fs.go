package ext

import (
	"fmt"
	"iter"
	"sync"

	"golang.org/x/sys/unix"

	"vmsync/fusefs/device"
	"vmsync/fusefs/filesystem"
)

// fsys is an open filesystem.
type fsys struct {
	r        *reader
	replayed bool
	orphans  map[uint32]bool // files that a mount would cut to their size
	info     func() filesystem.Info
}

// Open opens the filesystem on d, which must stay as it is for as long as the filesystem
// is used. Where it was not unmounted, Open reads its journal, and keeps 16 bytes for each
// block that is in there (and takes 32 more while it does so); otherwise a filesystem takes a
// few MiB of memory whatever it holds. All methods may be called by many goroutines at once.
//
// It returns ErrUnknown where there is no such filesystem, ErrUnsupported for features that
// make it unreadable, ErrNeedsReplay where the journal is on another device or
// holds fast commits, and ErrCorrupt where a mount would fail, too.
func Open(d device.Device) (filesystem.FS, error) {
	sb, err := readSuperblock(d, d.Size())
	if err != nil {
		return nil, err
	}
	f := &fsys{r: newReader(d, sb)}
	if sb.has(incompatRecover) {
		replayed, err := replay(f.r, d)
		if err != nil {
			return nil, err
		}
		if replayed != nil {
			if sb, err = readSuperblock(replayed, d.Size()); err != nil {
				return nil, fmt.Errorf("after the journal's replay: %w", err)
			}
			if int64(replayed.blockSize) != sb.blockSize {
				return nil, corrupt("the journal changes the size of blocks")
			}
			f.r, f.replayed = newReader(replayed, sb), len(replayed.blocks) > 0
		}
	}
	if f.orphans, err = f.r.orphans(); err != nil {
		return nil, err
	}
	f.info = sync.OnceValue(func() filesystem.Info { return f.r.info(f.replayed) })
	return f, nil
}

func (f *fsys) Info() filesystem.Info { return f.info() }

func (f *fsys) Root() filesystem.ID { return rootInode }

func (f *fsys) Stat(id filesystem.ID) (filesystem.Attr, error) {
	i, err := f.r.inode(id)
	if err != nil {
		return filesystem.Attr{}, err
	}
	sectors := i.sectors
	if i.has(flagInlineData) && i.is(unix.S_IFREG) {
		sectors += (i.size + 511) >> 9
	}
	if f.orphans[i.number] {
		cut, err := f.r.cutSectors(i)
		if err != nil {
			return filesystem.Attr{}, err
		}
		sectors -= cut
	}
	return filesystem.Attr{
		Mode: i.mode, Links: i.links, UID: i.uid, GID: i.gid, Rdev: i.rdev(),
		Size: i.size, Blocks: sectors,
		Atime: i.atime, Mtime: i.mtime, Ctime: i.ctime, Btime: i.btime,
	}, nil
}

// directory returns a directory whose names can be read.
func (f *fsys) directory(id filesystem.ID) (*inode, error) {
	i, err := f.r.inode(id)
	if err != nil {
		return nil, err
	}
	if !i.is(unix.S_IFDIR) {
		return nil, fmt.Errorf("inode %d: %w", id, filesystem.ErrNotDir)
	}
	return i, i.readable()
}

func (f *fsys) Lookup(dir filesystem.ID, name string) (filesystem.ID, error) {
	i, err := f.directory(dir)
	if err != nil {
		return 0, err
	}
	return f.r.lookup(i, name)
}

func (f *fsys) ReadDir(dir filesystem.ID) iter.Seq2[filesystem.Entry, error] {
	return func(yield func(filesystem.Entry, error) bool) {
		i, err := f.directory(dir)
		if err == nil {
			err = f.r.walk(i, func(e entry) bool {
				return yield(filesystem.Entry{Name: string(e.name), ID: filesystem.ID(e.inode), Mode: e.mode(f.r.sb)}, nil)
			})
		}
		if err != nil {
			yield(filesystem.Entry{}, err)
		}
	}
}

func (f *fsys) Readlink(link filesystem.ID) (string, error) {
	i, err := f.r.inode(link)
	if err != nil {
		return "", err
	}
	return f.r.target(i)
}

func (f *fsys) Xattrs(id filesystem.ID) (map[string][]byte, error) {
	i, err := f.r.inode(id)
	if err != nil {
		return nil, err
	}
	return f.r.xattrs(i)
}

func (f *fsys) Open(id filesystem.ID) (filesystem.File, error) {
	i, err := f.r.inode(id)
	if err != nil {
		return nil, err
	}
	switch {
	case i.is(unix.S_IFDIR):
		return nil, fmt.Errorf("inode %d: %w", id, filesystem.ErrIsDir)
	case !i.is(unix.S_IFREG):
		return nil, fmt.Errorf("inode %d: %w", id, filesystem.ErrInvalid)
	}
	if err := i.readable(); err != nil {
		return nil, err
	}
	if !i.has(flagInlineData) {
		return &file{r: f.r, inode: i}, nil
	}
	data, err := f.r.inlineData(i)
	if err != nil {
		return nil, err
	}
	return &inlineFile{i.size, data}, nil
}
