package image

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"vmsync/fusefs/device"
)

// settled is how long ago a file must have changed last to be shared. A change right after it
// was opened could otherwise bear the same time: file systems count in ticks, some in seconds.
const settled = 2 * time.Second

// file is one file of a chain, opened. Images that have it in their chains share it, as
// long as it did not change in between: a merge writes into a file before another name
// leads to it, and then an older chain must not lend what it remembers.
type file struct {
	id    uint64
	name  string
	key   fileKey
	refs  int // guarded by Cache.mu
	file  *os.File
	bytes atomic.Int64 // the file's length, at least; merging has it grow

	raw *device.File // of a raw image, nil otherwise
	*header
	l1     l1Table
	l1Size int64 // bytes reserved for it
}

// fileKey tells files apart, and what they were before and after they changed.
type fileKey struct {
	device, inode uint64
	changed       unix.Timespec // ctime, which a rename changes as well as a write
	bytes         int64
	format        string
}

// diskSize is the length of the disk as this file has it.
func (f *file) diskSize() int64 {
	if f.raw != nil {
		return f.key.bytes
	}
	return f.size
}

// reaches says whether the file is longer than at. A merge may have written there, since
// the file was opened, what lay below it before and reads the same.
func (f *file) reaches(at int64) bool {
	if at < f.bytes.Load() {
		return true
	}
	if info, err := f.file.Stat(); err == nil {
		f.bytes.Store(info.Size())
	}
	return at < f.bytes.Load()
}

// openFile opens a file of the folder, or finds it opened already.
func (c *Cache) openFile(folder *os.File, name, format string, flags int) (*file, error) {
	path := filepath.Join(folder.Name(), name)
	// A name that leads to a pipe must not block.
	fd, err := unix.Openat(int(folder.Fd()), name, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK|flags, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	looked := time.Now()
	var stat unix.Stat_t
	err = unix.Fstat(fd, &stat)
	if err == nil {
		err = unix.SetNonblock(fd, false)
	}
	if err == nil && stat.Mode&unix.S_IFMT != unix.S_IFREG {
		err = unix.EINVAL
	}
	if err != nil {
		unix.Close(fd)
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	key := fileKey{uint64(stat.Dev), stat.Ino, stat.Ctim, stat.Size, format}
	f := c.share(key)
	if f != nil {
		unix.Close(fd)
		return f, nil
	}
	f = &file{id: c.newOwner(), name: name, key: key, refs: 1, file: os.NewFile(uintptr(fd), path)}
	f.bytes.Store(stat.Size)
	if err := f.read(c, format); err != nil {
		f.file.Close()
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	if looked.Sub(time.Unix(stat.Ctim.Unix())) < settled {
		return f, nil
	}
	return c.offer(f), nil
}

// read reads what is kept of a file.
func (f *file) read(c *Cache, format string) (err error) {
	if format == formatRaw {
		f.raw, err = device.OfFile(f.file)
		return err
	}
	var before, after [headerV3]byte
	n, _ := f.file.ReadAt(before[:], 0)
	if f.header, err = readHeader(f.file, f.key.bytes); err != nil {
		return err
	}
	f.l1, err = readL1(f.file, f.l1Offset, f.l1Entries)
	// What growing an image leaves behind is no table any more.
	m, _ := f.file.ReadAt(after[:], 0)
	if n != m || !bytes.Equal(before[:], after[:]) {
		return ErrChanged
	}
	if err != nil {
		return err
	}
	f.l1Size = f.l1.bytes()
	if err := c.blocks.Reserve(f.l1Size); err != nil {
		f.l1Size = 0
		return fmt.Errorf("L1 table: %w", err)
	}
	return nil
}

// share returns another reference to a file that is open already, or nil.
func (c *Cache) share(key fileKey) *file {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.files[key]
	if f != nil {
		f.refs++
	}
	return f
}

// offer lets others share a file. It returns the one to use, which is another
// where that was faster.
func (c *Cache) offer(f *file) *file {
	c.mu.Lock()
	defer c.mu.Unlock()
	if first := c.files[f.key]; first != nil {
		first.refs++
		f.file.Close()
		c.blocks.Release(f.l1Size)
		return first
	}
	c.files[f.key] = f
	return f
}

// closeFile gives a reference back.
func (c *Cache) closeFile(f *file) error {
	c.mu.Lock()
	f.refs--
	last := f.refs == 0
	if last && c.files[f.key] == f {
		delete(c.files, f.key)
	}
	c.mu.Unlock()
	if !last {
		return nil
	}
	c.forget(f.id)
	c.blocks.Release(f.l1Size)
	return f.file.Close()
}
