package fstest

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"vmsync/fusefs/filesystem"
)

// Ignore names what Compare leaves out, with the reason in the name.
type Ignore struct {
	Atime  bool // the kernel's own reading changed it
	Btime  bool // the mount does not tell it
	Ctime  bool // the kernel's replay of a log set it to the time of the mount
	Blocks bool // the kernel counts something else than the disk
	Owner  bool // the filesystem has none: mount options decide
	Links  bool
	Xattrs bool
	Paths  []string // relative to the root
}

// Compare holds a reader against a mount of the same image by the kernel: names, types,
// modes, owners, link counts, sizes, blocks, times, device numbers, symbolic links'
// targets, extended attributes, the SHA-256 of contents and where they have data. The mount
// is read after the reader, so that it cannot help.
func Compare(t testing.TB, fsys filesystem.FS, mount string, ignore Ignore) {
	t.Helper()
	ours := ListFS(t, fsys, ignore)
	kernels := ListMount(t, mount, ignore)
	if diff := cmp.Diff(kernels, ours); diff != "" {
		if len(diff) > 6000 {
			diff = diff[:6000] + "\n…"
		}
		t.Fatalf("the reader (+) shows something else than the kernel (-):\n%s", diff)
	}
	t.Logf("%d files are alike", len(ours))
}

// Listing is a filesystem's whole content: a description of each file by its path.
type Listing map[string]string

// ListMount lists what the kernel shows.
func ListMount(t testing.TB, root string, ignore Ignore) Listing {
	t.Helper()
	listing := Listing{}
	inodes := map[[3]uint64]string{} // a subvolume numbers its own inodes, as another device
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if ignored(rel, ignore) {
			return fs.SkipDir
		}
		var st unix.Statx_t
		if err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_ALL, &st); err != nil {
			return err
		}
		attr := filesystem.Attr{
			Mode: uint32(st.Mode), Links: st.Nlink, UID: st.Uid, GID: st.Gid,
			Size: int64(st.Size), Blocks: int64(st.Blocks),
			Atime: statxTime(st.Atime), Mtime: statxTime(st.Mtime), Ctime: statxTime(st.Ctime),
		}
		if st.Mask&unix.STATX_BTIME != 0 {
			attr.Btime = statxTime(st.Btime)
		}
		if kind := attr.Mode & unix.S_IFMT; kind == unix.S_IFCHR || kind == unix.S_IFBLK {
			attr.Rdev = unix.Mkdev(st.Rdev_major, st.Rdev_minor)
		}
		inode := [3]uint64{uint64(st.Dev_major), uint64(st.Dev_minor), st.Ino}
		first, seen := inodes[inode]
		if !seen {
			inodes[inode], first = rel, rel
		}
		line := describe(attr, first, ignore)
		switch attr.Mode & unix.S_IFMT {
		case unix.S_IFLNK:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" -> %q", target)
		case unix.S_IFREG:
			file, err := os.Open(path)
			if err != nil {
				return err
			}
			defer file.Close()
			sum, err := hash(file, attr.Size, func(off int64) (int64, int64, error) { return seekData(file, off, attr.Size) })
			if err != nil {
				return err
			}
			line += " " + sum
		}
		if !ignore.Xattrs {
			xattrs, err := kernelXattrs(path)
			if err != nil {
				return err
			}
			line += describeXattrs(xattrs)
		}
		listing[rel] = line
		return nil
	})
	if err != nil {
		t.Fatalf("listing what the kernel shows: %v", err)
	}
	return listing
}

// ListFS lists what a reader shows, and checks on the way that Lookup and ReadDir agree
// and that holes read as zeros.
func ListFS(t testing.TB, fsys filesystem.FS, ignore Ignore) Listing {
	t.Helper()
	l := &lister{t: t, fsys: fsys, ignore: ignore, listing: Listing{}, inodes: map[filesystem.ID]string{}}
	l.walk(".", fsys.Root())
	return l.listing
}

type lister struct {
	t       testing.TB
	fsys    filesystem.FS
	ignore  Ignore
	listing Listing
	inodes  map[filesystem.ID]string
}

func (l *lister) walk(path string, id filesystem.ID) {
	l.t.Helper()
	if ignored(path, l.ignore) {
		return
	}
	attr, err := l.fsys.Stat(id)
	if err != nil {
		l.t.Errorf("stat %q: %v", path, err)
		return
	}
	first, seen := l.inodes[id]
	if !seen {
		l.inodes[id], first = path, path
	}
	line := describe(attr, first, l.ignore)
	switch attr.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		target, err := l.fsys.Readlink(id)
		if err != nil {
			l.t.Errorf("readlink %q: %v", path, err)
		}
		line += fmt.Sprintf(" -> %q", target)
	case unix.S_IFREG:
		line += " " + l.content(path, id, attr.Size)
	}
	if !l.ignore.Xattrs {
		xattrs, err := l.fsys.Xattrs(id)
		if err != nil {
			l.t.Errorf("xattrs of %q: %v", path, err)
		}
		line += describeXattrs(xattrs)
	}
	l.listing[path] = line
	if attr.Mode&unix.S_IFMT == unix.S_IFDIR {
		l.directory(path, id)
	}
}

func (l *lister) directory(path string, id filesystem.ID) {
	l.t.Helper()
	var entries []filesystem.Entry
	for entry, err := range l.fsys.ReadDir(id) {
		if err != nil {
			l.t.Errorf("readdir %q: %v", path, err)
			return
		}
		entries = append(entries, entry)
	}
	// In the order in which filepath.WalkDir comes by, so that both sides give a file
	// of many names the same first one.
	sort.Slice(entries, func(i, j int) bool { return entries[i].Name < entries[j].Name })
	for _, entry := range entries {
		found, err := l.fsys.Lookup(id, entry.Name)
		if err != nil || found != entry.ID {
			l.t.Errorf("lookup of %q in %q: %d, %v; readdir says %d", entry.Name, path, found, err, entry.ID)
		}
		if entry.Mode != 0 {
			if attr, err := l.fsys.Stat(entry.ID); err == nil && attr.Mode&unix.S_IFMT != entry.Mode {
				l.t.Errorf("readdir of %q: %q is of kind %o; stat says %o", path, entry.Name, entry.Mode, attr.Mode)
			}
		}
		l.walk(filepath.Join(path, entry.Name), entry.ID)
	}
	if _, err := l.fsys.Lookup(id, "no such file, surely"); err == nil {
		l.t.Errorf("%q holds a file that nobody made", path)
	}
}

// content hashes a file twice: whole, and only where Data says that there is something.
func (l *lister) content(path string, id filesystem.ID, size int64) string {
	l.t.Helper()
	file, err := l.fsys.Open(id)
	if err != nil {
		l.t.Errorf("open %q: %v", path, err)
		return "unreadable"
	}
	if file.Size() != size {
		l.t.Errorf("%q: open says %d bytes, stat %d", path, file.Size(), size)
	}
	sum, err := hash(file, size, file.Data)
	if err != nil {
		l.t.Errorf("read %q: %v", path, err)
	}
	for off := int64(0); off < size; {
		start, end, err := file.Data(off)
		if err != nil || start < off || end < start || end > size || (start == end && start != size) {
			l.t.Errorf("%q: data at %d: %d to %d, %v", path, off, start, end, err)
			break
		}
		if gap := min(start-off, 1<<20); gap > 0 {
			b := make([]byte, gap)
			if _, err := file.ReadAt(b, off); err != nil || !bytes.Equal(b, make([]byte, gap)) {
				l.t.Errorf("%q: the hole at %d does not read as zeros: %v", path, off, err)
			}
		}
		off = end
	}
	return sum
}

func ignored(path string, ignore Ignore) bool {
	for _, p := range ignore.Paths {
		if p == path {
			return true
		}
	}
	return false
}

func describe(a filesystem.Attr, first string, ignore Ignore) string {
	var b strings.Builder
	fmt.Fprintf(&b, "mode %o size %d", a.Mode, a.Size)
	if a.Mode&unix.S_IFMT != unix.S_IFDIR {
		fmt.Fprintf(&b, " same as %q", first)
	}
	if !ignore.Owner {
		fmt.Fprintf(&b, " owner %d:%d", a.UID, a.GID)
	}
	if !ignore.Links {
		fmt.Fprintf(&b, " links %d", a.Links)
	}
	if a.Rdev != 0 {
		fmt.Fprintf(&b, " device %d:%d", unix.Major(a.Rdev), unix.Minor(a.Rdev))
	}
	if !ignore.Blocks {
		fmt.Fprintf(&b, " blocks %d", a.Blocks)
	}
	if !ignore.Atime {
		fmt.Fprintf(&b, " atime %s", stamp(a.Atime))
	}
	fmt.Fprintf(&b, " mtime %s", stamp(a.Mtime))
	if !ignore.Ctime {
		fmt.Fprintf(&b, " ctime %s", stamp(a.Ctime))
	}
	if !ignore.Btime && !a.Btime.IsZero() {
		fmt.Fprintf(&b, " btime %s", stamp(a.Btime))
	}
	return b.String()
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

func statxTime(t unix.StatxTimestamp) time.Time { return time.Unix(t.Sec, int64(t.Nsec)) }

// wholly is up to which size files are read with their holes. Those of larger ones are
// believed, so that sparse files of many gigabytes do not take minutes.
const wholly = 64 << 20

// hash sums up a file's blocks that are not zero, and where they are: where else it says
// that there is data makes no difference.
func hash(r io.ReaderAt, size int64, data func(off int64) (start, end int64, err error)) (string, error) {
	if size <= wholly {
		data = func(off int64) (int64, int64, error) { return off, size, nil }
	}
	const block = 4096
	sum := sha256.New()
	buf, zeros := make([]byte, min(1<<20, (size+block-1)&^(block-1))), make([]byte, block)
	for off := int64(0); off < size; {
		start, end, err := data(off)
		if err != nil {
			return "", err
		}
		off = end
		for at := start &^ (block - 1); at < end; at += int64(len(buf)) {
			b := buf[:min(int64(len(buf)), size-at)]
			if n, err := r.ReadAt(b, at); n < len(b) {
				return "", fmt.Errorf("%d of %d bytes at %d: %w", n, len(b), at, err)
			}
			for k := 0; k < len(b); k += block {
				if part := b[k:min(k+block, len(b))]; !bytes.Equal(part, zeros[:len(part)]) {
					fmt.Fprintf(sum, "%d ", at+int64(k))
					sum.Write(part)
				}
			}
			off = max(off, at+int64(len(b)))
		}
	}
	return fmt.Sprintf("%x", sum.Sum(nil)[:12]), nil
}

// seekData is Data of a file of the kernel's.
func seekData(file *os.File, off, size int64) (int64, int64, error) {
	start, err := unix.Seek(int(file.Fd()), off, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) {
		return size, size, nil
	}
	if err != nil {
		return 0, 0, err
	}
	end, err := unix.Seek(int(file.Fd()), start, unix.SEEK_HOLE)
	return start, min(end, size), err
}

func describeXattrs(xattrs map[string][]byte) string {
	names := make([]string, 0, len(xattrs))
	for name := range xattrs {
		names = append(names, name)
	}
	sort.Strings(names)
	var b strings.Builder
	for _, name := range names {
		value := xattrs[name]
		if len(value) > 32 {
			fmt.Fprintf(&b, " %s=%d bytes %x", name, len(value), sha256.Sum256(value))
			continue
		}
		fmt.Fprintf(&b, " %s=%x", name, value)
	}
	return b.String()
}

func kernelXattrs(path string) (map[string][]byte, error) {
	list := make([]byte, 65536)
	n, err := unix.Llistxattr(path, list)
	if err != nil {
		return nil, &fs.PathError{Op: "listxattr", Path: path, Err: err}
	}
	xattrs := map[string][]byte{}
	for _, name := range strings.Split(strings.TrimSuffix(string(list[:n]), "\x00"), "\x00") {
		if name == "" {
			continue
		}
		value := make([]byte, 65536)
		n, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			return nil, &fs.PathError{Op: "getxattr " + name, Path: path, Err: err}
		}
		xattrs[name] = value[:n]
	}
	return xattrs, nil
}
