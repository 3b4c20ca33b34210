// Package ntfs reads NTFS 3.x and shows it as ntfs-3g mounts it without permissions: files
// belong to root, mode 0777, times are exact to 100 ns.
//
// What differs from Unix is told like this:
//
//   - An ID is a file reference: the number of the file's record and, in the upper 16 bits, how
//     often that record was used.
//   - The first 16 records, the filesystem's own files, are not shown. Names of the
//     DOS namespace are not listed, yet found.
//   - Names are looked up as they are written, then regardless of case.
//   - Symbolic links (of Windows, of WSL, of Interix) and mount points are symbolic links.
//     Their targets have '/' for '\' and lose the prefix "\??\": an absolute one starts
//     with the drive's letter and leads nowhere on Linux.
//   - Named streams of up to 64 KiB are extended attributes "user.NAME". Extended
//     attributes of OS/2 ($EA) are not shown.
//   - Files whose data is elsewhere or needs a key (EFS, WOF, deduplication, other
//     reparse points) have attributes, but cannot be opened: ErrUnsupported.
//   - Directories have one link, the others as many as names outside of the DOS namespace.
//
// The log is not replayed: where it holds changes that may not have been made, Open returns
// ErrNeedsReplay.
//
// It must never trust a count, an offset or a reference that it reads, nor walk an index
// or a list deeper than one that is whole can be.
package ntfs

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"vmsync/fusefs/device"
	"vmsync/fusefs/filesystem"
	"vmsync/fusefs/filesystem/internal/cache"
)

// Records with a fixed place in $MFT.
const (
	recordMFT     = 0
	recordLogFile = 2
	recordVolume  = 3
	recordRoot    = 5
	recordBitmap  = 6
	recordUpCase  = 10
	firstUser     = 16
)

// Bounds of what an open filesystem keeps in memory, in bytes.
const (
	maxRecordBytes = 2 << 20 // records of $MFT
	maxBlockBytes  = 1 << 20 // blocks of directories
	maxUnitBytes   = 2 << 20 // decompressed data
	maxRunsKept    = 65536   // decoded runs, of 24 bytes
	maxDirs        = 256     // open directories, of a few hundred bytes
)

type volume struct {
	dev     device.Device
	layout  layout
	root    filesystem.ID
	mft     *mft
	upcase  []uint16
	records *cache.Cache[uint64, *record]
	blocks  *cache.Cache[blockKey, []byte]
	units   *cache.Cache[unitKey, []byte]
	runs    *cache.Cache[segment, []run]
	dirs    *cache.Cache[filesystem.ID, *directory]
	info    func() filesystem.Info
}

// Open reads the filesystem on d. It returns ErrUnknown where that is no NTFS.
func Open(d device.Device) (filesystem.FS, error) {
	l, err := readLayout(d)
	if err != nil {
		return nil, err
	}
	v := &volume{
		dev: d, layout: l,
		records: cache.New[uint64, *record](maxRecordBytes),
		blocks:  cache.New[blockKey, []byte](maxBlockBytes),
		units:   cache.New[unitKey, []byte](maxUnitBytes),
		runs:    cache.New[segment, []run](maxRunsKept),
		dirs:    cache.New[filesystem.ID, *directory](maxDirs),
	}
	if v.mft, err = openMFT(v); err != nil {
		return nil, fmt.Errorf("$MFT: %w", err)
	}
	notes, err := v.checkState()
	if err != nil {
		return nil, err
	}
	if v.upcase, err = v.readUpcase(); err != nil {
		return nil, fmt.Errorf("$UpCase: %w", err)
	}
	root, err := v.record(recordRoot)
	if err != nil {
		return nil, fmt.Errorf("the root directory: %w", err)
	}
	v.root = filesystem.ID(root.reference())
	if note := v.hibernated(); note != "" {
		notes = append(notes, note)
	}
	v.info = sync.OnceValue(func() filesystem.Info { return v.describe(notes) })
	return v, nil
}

func (v *volume) Root() filesystem.ID { return v.root }

func (v *volume) Info() filesystem.Info { return v.info() }

// readFull fills p from the device, all of which has to be there.
func readFull(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, device.ErrOutOfRange) {
		return corrupt("%d bytes at %d end after %d", len(p), off, n)
	}
	return err
}

func corrupt(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, filesystem.ErrCorrupt)...)
}
