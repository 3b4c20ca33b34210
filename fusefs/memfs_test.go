package fusefs

import (
	"fmt"
	"iter"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"vmsync/fusefs/device"
	"vmsync/fusefs/filesystem"
)

// memFS is a filesystem in memory, to see what the tree makes of one.
type memFS struct {
	files  map[filesystem.ID]*memFile
	broken map[filesystem.ID]bool
	// told orders what a test writes before what the tree reads: that one comes after the
	// other through the kernel, which the race detector does not see.
	told sync.RWMutex
}

// tell is called after writing, and heed before reading.
func (m *memFS) tell() { m.told.Lock(); defer m.told.Unlock() }
func (m *memFS) heed() { m.told.RLock(); defer m.told.RUnlock() }

type memFile struct {
	filesystem.Attr
	names   map[string]filesystem.ID
	target  string
	content content
	xattrs  map[string][]byte
}

var memTime = time.Date(1969, 3, 4, 5, 6, 7, 123456789, time.UTC)

func newMemFS() *memFS {
	m := &memFS{files: map[filesystem.ID]*memFile{}, broken: map[filesystem.ID]bool{}}
	m.add(2, 0, "", unix.S_IFDIR|0o755, nil)
	return m
}

// add adds a file and returns it.
func (m *memFS) add(id, dir filesystem.ID, name string, mode uint32, body []byte) *memFile {
	f := m.files[id]
	if f == nil {
		f = &memFile{Attr: filesystem.Attr{Mode: mode, Size: int64(len(body)), Blocks: int64(len(body)+511) / 512, Atime: memTime, Mtime: memTime, Ctime: memTime, Btime: memTime}}
		f.content = bytesContent(body)
		if mode&unix.S_IFMT == unix.S_IFDIR {
			f.names, f.Links = map[string]filesystem.ID{}, 1
		}
		m.files[id] = f
	}
	f.Links++
	if dir != 0 {
		m.files[dir].names[name] = id
	}
	m.tell()
	return f
}

func (m *memFS) Info() filesystem.Info {
	return filesystem.Info{Type: "mem", BlockSize: 1024, Blocks: 777, Free: 333, Files: 99, FilesFree: 11, NameMax: 200}
}
func (m *memFS) Root() filesystem.ID { return 2 }

func (m *memFS) Stat(id filesystem.ID) (filesystem.Attr, error) {
	m.heed()
	f := m.files[id]
	if f == nil || m.broken[id] {
		return filesystem.Attr{}, fmt.Errorf("inode %d: %w", id, filesystem.ErrCorrupt)
	}
	return f.Attr, nil
}

func (m *memFS) Lookup(dir filesystem.ID, name string) (filesystem.ID, error) {
	m.heed()
	d := m.files[dir]
	if d.names == nil {
		return 0, filesystem.ErrNotDir
	}
	if id, ok := d.names[name]; ok {
		return id, nil
	}
	return 0, filesystem.ErrNotExist
}

func (m *memFS) ReadDir(dir filesystem.ID) iter.Seq2[filesystem.Entry, error] {
	m.heed()
	return func(yield func(filesystem.Entry, error) bool) {
		names := make([]string, 0, len(m.files[dir].names))
		for name := range m.files[dir].names {
			names = append(names, name)
		}
		sort.Strings(names)
		for _, name := range names {
			id := m.files[dir].names[name]
			if !yield(filesystem.Entry{Name: name, ID: id, Mode: m.files[id].Mode & unix.S_IFMT}, nil) {
				return
			}
		}
	}
}

func (m *memFS) Readlink(id filesystem.ID) (string, error) {
	m.heed()
	return m.files[id].target, nil
}

func (m *memFS) Xattrs(id filesystem.ID) (map[string][]byte, error) {
	m.heed()
	return m.files[id].xattrs, nil
}

func (m *memFS) Open(id filesystem.ID) (filesystem.File, error) {
	m.heed()
	return m.files[id].content, nil
}

// sparse is a content of two pieces of data with holes around.
type sparse struct{ body []byte }

const sparseSize, sparseData = 1 << 20, 64 << 10

func (s *sparse) Size() int64 { return sparseSize }
func (s *sparse) ReadAt(p []byte, off int64) (int, error) {
	return bytesContent(s.body).ReadAt(p, off)
}
func (s *sparse) Data(off int64) (int64, int64, error) {
	for _, at := range []int64{128 << 10, 512 << 10} {
		// In two parts, as a device may tell it.
		for _, part := range []int64{at, at + sparseData/2} {
			if off < part+sparseData/2 {
				return max(off, part), part + sparseData/2, nil
			}
		}
	}
	return sparseSize, sparseSize, nil
}

func newSparse() *sparse {
	s := &sparse{make([]byte, sparseSize)}
	for _, at := range []int{128 << 10, 512 << 10} {
		for i := range sparseData {
			s.body[at+i] = byte(i%251 + 1)
		}
	}
	return s
}

// fakeReads opens images, and finds volumes on them that a test says are there.
type fakeReads struct {
	images  openImages
	opens   atomic.Int64
	closes  atomic.Int64
	volumes []*foundVolume
	open    func(*foundVolume) (filesystem.FS, error)
	find    func([]openDisk) // called by findVolumes, unless it is nil
}

func (f *fakeReads) openDisk(path string) (device.Device, func() error, error) {
	dev, done, err := f.images.openDisk(path)
	if err != nil {
		return nil, nil, err
	}
	f.opens.Add(1)
	return dev, func() error { f.closes.Add(1); return done() }, nil
}

func (f *fakeReads) findVolumes(disks []openDisk) ([]*foundVolume, error) {
	if f.find != nil {
		f.find(disks)
	}
	var found []*foundVolume
	for _, v := range f.volumes {
		copied := *v
		if copied.err == nil {
			copied.device = disks[0].device
		}
		found = append(found, &copied)
	}
	return found, nil
}

func (f *fakeReads) openFilesystem(v *foundVolume) (filesystem.FS, error) {
	if v.err != nil {
		return nil, v.err
	}
	return f.open(v)
}
