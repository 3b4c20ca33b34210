// Package fat reads FAT12, FAT16 and FAT32 filesystems with long names ("vfat"), and shows
// them as Linux mounts them with umask=022, utf8 and tz=UTC: files belong to root, mode
// 0755, or 0555 where the read-only attribute is set; directories 0755.
//
// What FAT keeps differs from what Unix asks for, so this is how it is told:
//
//   - An ID is the place of a file's directory entry: its offset on the device by 32. The
//     root directory has none and is 1.
//   - Times are local times without a zone, taken as UTC: to 2 seconds when written, to
//     10 ms when created, to a day when read. There is no change time: it is the time of writing.
//   - Short names are code page 437, in lower case where the flags of Windows NT say so.
//   - Names are looked up regardless of case, short names also where a long one is shown.
//   - FAT has no journal: nothing is ever replayed. A filesystem that was not unmounted is
//     read as it is, and a note in Info says so.
//
// The layout is that of "Microsoft FAT Specification" (2005). exFAT is another format.
//
// It must never follow a chain of clusters without an end, nor believe that what a chain or
// an entry names lies within the filesystem.
package fat

import (
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"sync"

	"vmsync/fusefs/device"
	"vmsync/fusefs/filesystem"
	"vmsync/fusefs/filesystem/internal/cache"
)

// Bounds of what an open filesystem keeps in memory.
const (
	maxRecords   = 4096    // directory entries, of 32 bytes
	maxDirWeight = 200_000 // names in indexes of directories, of 12 bytes
)

type volume struct {
	dev     device.Device
	layout  layout
	table   *table
	records *cache.Cache[filesystem.ID, record]
	dirs    *cache.Cache[uint32, *directory] // by their first cluster
	seed    maphash.Seed
	info    func() filesystem.Info
}

// Open reads the filesystem on d. It returns ErrUnknown where that is none of FAT.
func Open(d device.Device) (filesystem.FS, error) {
	l, notes, err := readLayout(d)
	if err != nil {
		return nil, err
	}
	t, err := openTable(d, l)
	if err != nil {
		return nil, err
	}
	v := &volume{
		dev:     d,
		layout:  l,
		table:   t,
		records: cache.New[filesystem.ID, record](maxRecords),
		dirs:    cache.New[uint32, *directory](maxDirWeight),
		seed:    maphash.MakeSeed(),
	}
	v.info = sync.OnceValue(func() filesystem.Info { return v.describe(notes) })
	return v, nil
}

func (v *volume) Root() filesystem.ID { return rootID }

func (v *volume) Info() filesystem.Info { return v.info() }

// Readlink implements filesystem.FS: FAT has no symbolic links.
func (v *volume) Readlink(link filesystem.ID) (string, error) {
	return "", fmt.Errorf("file %d is no symbolic link: %w", link, filesystem.ErrInvalid)
}

// Xattrs implements filesystem.FS: FAT has none.
func (v *volume) Xattrs(filesystem.ID) (map[string][]byte, error) { return nil, nil }

// readFull fills p from the device, all of which has to be there.
func readFull(d device.Device, p []byte, off int64) error {
	_, err := d.ReadAt(p, off)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, device.ErrOutOfRange) {
		return fmt.Errorf("bytes %d to %d lie beyond the device's %d: %w",
			off, off+int64(len(p)), d.Size(), filesystem.ErrCorrupt)
	}
	return err
}
