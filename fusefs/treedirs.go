package fusefs

import (
	"iter"
	"sync"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"vmsync/fusefs/filesystem"
)

// openDir is a folder that somebody has open. An entry's offset is its number, counted
// from 1; "." and ".." are the first two.
type openDir struct {
	node    uint64
	entries func() iter.Seq2[filesystem.Entry, error]
	guest   *guestFS // nil in the store's part
	done    func()

	mu     sync.Mutex
	next   func() (filesystem.Entry, error, bool)
	stop   func()
	offset uint64            // of the last entry that next gave
	ahead  *filesystem.Entry // that entry, until it is taken: there may be no room for it
	last   filesystem.Entry
}

// dots are the entries that every folder begins with.
var dots = [...]string{".", ".."}

func (t *tree) OpenDir(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	d := &openDir{node: in.NodeId, done: func() {}}
	if isGuest(in.NodeId) {
		status := t.onGuest(in.NodeId, func(v *guestFS, fsys filesystem.FS, id filesystem.ID) error {
			v.session.handles.Add(1)
			d.guest, d.done = v, v.session.letGo
			d.entries = func() iter.Seq2[filesystem.Entry, error] { return fsys.ReadDir(id) }
			return nil
		})
		if status != fuse.OK {
			return status
		}
		out.OpenFlags = fuse.FOPEN_KEEP_CACHE | fuse.FOPEN_CACHE_DIR
	} else {
		f, ok := t.nodes.get(in.NodeId).(folder)
		if !ok {
			return fuse.Status(unix.ESTALE)
		}
		list, err := f.list()
		if err != nil {
			return t.status(err, atNode(f))
		}
		d.entries = func() iter.Seq2[filesystem.Entry, error] { return sequence(list) }
	}
	out.Fh = t.handles.add(d)
	return fuse.OK
}

func sequence(list []filesystem.Entry) iter.Seq2[filesystem.Entry, error] {
	return func(yield func(filesystem.Entry, error) bool) {
		for _, e := range list {
			if !yield(e, nil) {
				return
			}
		}
	}
}

func (t *tree) ReleaseDir(in *fuse.ReleaseIn) {
	if d, ok := t.handles.remove(in.Fh).(*openDir); ok {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.rewind()
		d.done()
	}
}

func (t *tree) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return t.readDir(in, func(d *openDir, e *filesystem.Entry, off uint64) bool {
		return out.AddDirEntry(fuse.DirEntry{Name: e.Name, Mode: e.Mode, Ino: d.ino(e), Off: off})
	})
}

// ReadDirPlus tells of guests' files what a lookup would. Those of the store's part are
// few, and the kernel looks up what it needs.
func (t *tree) ReadDirPlus(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return t.readDir(in, func(d *openDir, e *filesystem.Entry, off uint64) bool {
		entry := out.AddDirLookupEntry(fuse.DirEntry{Name: e.Name, Mode: e.Mode, Ino: d.ino(e), Off: off})
		if entry == nil {
			return false
		}
		if d.guest != nil && off > uint64(len(dots)) {
			t.describe(d, e, entry)
			if e.Mode == 0 {
				out.FixMode(entry.Mode)
			}
		}
		return true
	})
}

// describe answers the lookup that an entry saves. Where that fails the kernel makes it
// itself, if anybody asks.
func (t *tree) describe(d *openDir, e *filesystem.Entry, out *fuse.EntryOut) {
	_ = d.guest.use(func(fsys filesystem.FS) error {
		a, err := fsys.Stat(e.ID)
		if err != nil {
			return err
		}
		node, err := d.guest.node(e.ID)
		if err != nil {
			return err
		}
		t.options.Owners.guest(&a)
		t.paths.found(node, d.node, e.Name)
		fillEntry(out, node, &a, forever)
		d.guest.lookups.Add(1)
		return nil
	})
}

func (t *tree) readDir(in *fuse.ReadIn, add func(*openDir, *filesystem.Entry, uint64) bool) fuse.Status {
	d, ok := t.handles.get(in.Fh).(*openDir)
	if !ok {
		return fuse.EBADF
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	added := false
	for off := in.Offset + 1; ; off++ {
		e, err := d.entry(off)
		if err != nil && added {
			d.rewind() // what was read is told first, and the error the next time
			return fuse.OK
		}
		if err != nil {
			return t.status(err, func() failure { return t.failureIn(d) })
		}
		if e == nil || !add(d, e, off) {
			return fuse.OK
		}
		if off > uint64(len(dots)) {
			d.ahead = nil
		}
		added = true
	}
}

func (t *tree) failureIn(d *openDir) failure {
	if d.guest != nil {
		return t.at(d.guest, d.node)()
	}
	return failure{}
}

// entry returns the entry of an offset, nil after the last. It is quick for the offset
// after the one before, and again for the same one.
func (d *openDir) entry(off uint64) (*filesystem.Entry, error) {
	if off <= uint64(len(dots)) {
		return &filesystem.Entry{Name: dots[off-1], Mode: unix.S_IFDIR}, nil
	}
	if d.next == nil || d.offset > off || d.offset == off && d.ahead == nil {
		d.rewind()
		d.next, d.stop = iter.Pull2(d.entries())
		d.offset = uint64(len(dots))
	}
	if d.offset == off {
		return d.ahead, nil
	}
	for d.offset < off {
		e, err, more := d.next()
		if !more {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		d.offset++
		d.last = e
		d.ahead = &d.last
	}
	return d.ahead, nil
}

// rewind forgets where the reading was.
func (d *openDir) rewind() {
	if d.stop != nil {
		d.stop()
	}
	d.next, d.stop, d.ahead, d.offset = nil, nil, nil, 0
}

// ino is the inode number of an entry; 0, for unknown, in the store's part.
func (d *openDir) ino(e *filesystem.Entry) uint64 {
	switch {
	case e.Name == dots[0]:
		return d.node
	case d.guest == nil || e.ID == 0:
		return 0
	}
	node, err := d.guest.node(e.ID)
	if err != nil {
		return 0
	}
	return node
}
