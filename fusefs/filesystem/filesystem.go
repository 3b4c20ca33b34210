// Package filesystem is what a guest's filesystem looks like to the rest of fusefs,
// whatever kind it is. The packages below it read one kind each.
//
// A reader works on a Device that a guest wrote, and a guest may be hostile: whatever it
// finds, it must never panic, loop for ever, or take more memory than its bound, and it
// must never return other bytes than the guest's kernel would. What it cannot read it
// refuses: a damaged file is an error of that file, and the rest goes on. It must never
// follow a symbolic link.
package filesystem

import (
	"errors"
	"iter"
	"time"
)

// ID names a file (an inode) within a filesystem. It is stable for as long as the
// filesystem is open, the same for all names of a file, and never 0.
type ID uint64

// FS is an open filesystem. Every method may be called by many goroutines at once.
// A filesystem keeps no goroutine and no file of its own: there is nothing to close.
type FS interface {
	// Info describes the filesystem as a whole.
	Info() Info

	// Root is the root directory.
	Root() ID

	// Stat describes a file. Errors are ErrCorrupt, or the device's.
	Stat(file ID) (Attr, error)

	// Lookup returns the file that a directory holds under a name, in time that does
	// not grow with the directory where the format allows it. Names are bytes, not
	// necessarily UTF-8. It returns ErrNotExist where there is none, ErrNotDir where dir is none.
	Lookup(dir ID, name string) (ID, error)

	// ReadDir yields the entries of a directory, without "." and "..", each once. After
	// an error it ends. It takes bounded memory however large the directory is.
	ReadDir(dir ID) iter.Seq2[Entry, error]

	// Readlink returns the target of a symbolic link, ErrInvalid for another file.
	Readlink(link ID) (string, error)

	// Xattrs returns all extended attributes of a file by their full names
	// ("user.x", "security.capability", "system.posix_acl_access"), values as
	// getxattr(2) gives them.
	Xattrs(file ID) (map[string][]byte, error)

	// Open opens a regular file for reading. There is nothing to close.
	Open(file ID) (File, error)
}

// File is the content of a regular file; a device.Device of the file's size.
type File interface {
	ReadAt(p []byte, off int64) (int, error)
	Size() int64
	// Data is as in device.Device: what lies between off and start is a hole, or was
	// allocated and never written.
	Data(off int64) (start, end int64, err error)
}

// Entry is a name in a directory.
type Entry struct {
	Name string
	ID   ID
	Mode uint32 // the S_IFMT bits alone; 0 where only Stat would tell
}

// Attr is what stat(2) tells of a file.
type Attr struct {
	Mode   uint32 // S_IFMT and permission bits as in stat(2)
	Links  uint32
	UID    uint32
	GID    uint32
	Rdev   uint64 // of device nodes, as unix.Mkdev makes it
	Size   int64  // bytes
	Blocks int64  // units of 512 bytes
	Atime  time.Time
	Mtime  time.Time
	Ctime  time.Time
	Btime  time.Time // the zero time where the filesystem does not keep it
}

// Info is what statfs(2) tells, and how the filesystem was found.
type Info struct {
	Type      string // "ext4", "xfs", "vfat", "ntfs", "btrfs"
	Label     string
	UUID      string // as blkid prints it
	BlockSize int64  // bytes
	Blocks    uint64 // all, in BlockSize
	Free      uint64 // in BlockSize
	Files     uint64 // inodes there are, 0 where that is not limited
	FilesFree uint64
	NameMax   uint32 // bytes

	// Replayed says that the journal held changes, which are part of what is read.
	Replayed bool
	// Notes are sentences for the user about what this reader cannot show.
	Notes []string
}

// Errors that callers decide on; readers wrap them with what they found and where.
var (
	// ErrUnknown: the device holds no filesystem that this reader knows.
	ErrUnknown = errors.New("no known filesystem")
	// ErrUnsupported: the filesystem uses a feature that this reader does not know.
	ErrUnsupported = errors.New("unsupported feature")
	// ErrNeedsReplay: the filesystem was not unmounted, and this reader cannot replay its
	// journal. Reading on would show stale files.
	ErrNeedsReplay = errors.New("the journal has to be replayed first")
	// ErrCorrupt: what is on the device contradicts itself.
	ErrCorrupt = errors.New("damaged")

	ErrNotExist = errors.New("no such file")
	ErrNotDir   = errors.New("not a directory")
	ErrIsDir    = errors.New("is a directory")
	ErrInvalid  = errors.New("not that kind of file")
)
