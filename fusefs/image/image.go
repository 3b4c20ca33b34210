package image

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"vmsync/fusefs/device"
)

// maxChain bounds the files of a chain. The store's are of 64, but for those of a merge
// under way.
const maxChain = 1024

// An Image is the disk that a chain of images makes. It is a device.Device: its methods
// may be called by many goroutines at once, but Close after all others have returned.
type Image struct {
	id     uint64
	path   string
	cache  *Cache
	chain  []*file // the image first, then each over the next
	size   int64
	part   int64 // bytes that are mapped together, a power of two
	ahead  readahead
	closed atomic.Bool
}

var _ device.Device = (*Image)(nil)

// Open opens the qcow2 image at path and all that it lies over, down to a raw image if one
// is at the bottom. The files must be in the image's folder, and each image must record its
// backing file's format.
//
// Where the chain is merged meanwhile, the error is fs.ErrNotExist or ErrChanged, and
// opening again helps. Other errors are ErrCorrupt, ErrUnsupported, blockcache.ErrFull
// where the cache cannot hold the L1 tables, and those of opening and reading files.
func Open(path string, c *Cache) (*Image, error) {
	dir, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	folder, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer folder.Close()
	i := &Image{id: c.newOwner(), path: path, cache: c}
	if err := i.openChain(folder, filepath.Base(path)); err != nil {
		i.closeChain()
		return nil, err
	}
	i.size = i.chain[0].diskSize()
	i.part = partSize(i.chain)
	return i, nil
}

func (i *Image) openChain(folder *os.File, name string) error {
	type identity struct{ device, inode uint64 }
	seen := map[identity]bool{}
	format, flags := formatQcow2, 0
	for len(i.chain) < maxChain {
		f, err := i.cache.openFile(folder, name, format, flags)
		if err != nil {
			return err
		}
		i.chain = append(i.chain, f)
		if seen[identity{f.key.device, f.key.inode}] {
			return &os.PathError{Op: "open", Path: i.path, Err: fmt.Errorf("%s lies over itself: %w", name, ErrCorrupt)}
		}
		seen[identity{f.key.device, f.key.inode}] = true
		if f.raw != nil || f.backing == "" {
			return nil
		}
		if name, err = f.backingFile(folder.Name()); err != nil {
			return &os.PathError{Op: "open", Path: f.file.Name(), Err: err}
		}
		format, flags = f.backingFormat, unix.O_NOFOLLOW
	}
	return &os.PathError{Op: "open", Path: i.path, Err: fmt.Errorf("more than %d images over each other: %w", maxChain, ErrUnsupported)}
}

// Close lets go the files that no other image uses.
func (i *Image) Close() error {
	if i.closed.Swap(true) {
		return &os.PathError{Op: "close", Path: i.path, Err: os.ErrClosed}
	}
	return i.closeChain()
}

func (i *Image) closeChain() error {
	i.cache.forget(i.id)
	var errs []error
	for _, f := range i.chain {
		errs = append(errs, i.cache.closeFile(f))
	}
	return errors.Join(errs...)
}

// Size implements device.Device.
func (i *Image) Size() int64 { return i.size }

// ReadAt implements device.Device.
func (i *Image) ReadAt(p []byte, off int64) (int, error) {
	return device.ReadWithin(p, off, i.size, i.read)
}
