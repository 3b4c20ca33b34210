package xfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"vmsync/fusefs/device"
	"vmsync/fusefs/filesystem"
	"vmsync/fusefs/filesystem/fstest"
)

// edited is an image in memory with some pages changed.
type edited struct {
	base  []byte
	pages map[int64][]byte
}

const editedPage = 1024

func (e *edited) Size() int64 { return int64(len(e.base)) }

func (e *edited) Data(off int64) (int64, int64, error) { return min(off, e.Size()), e.Size(), nil }

func (e *edited) ReadAt(p []byte, off int64) (int, error) {
	return device.ReadWithin(p, off, e.Size(), func(p []byte, off int64) (int, error) {
		n := copy(p, e.base[off:])
		for number, page := range e.pages {
			if begin := number * editedPage; begin < off+int64(n) && begin+editedPage > off {
				if begin >= off {
					copy(p[begin-off:], page)
				} else {
					copy(p, page[off-begin:])
				}
			}
		}
		return n, nil
	})
}

// edit makes changes as fuzz says: five bytes each for a page that is not empty, a place in
// it, and a value. Checksums are set right again, so that the changes are seen.
func edit(base []byte, used []int64, fuzz []byte, sb *superblock) *edited {
	const each, most = 5, 64
	e := &edited{base: base, pages: map[int64][]byte{}}
	for n := 0; len(fuzz) >= each && n < most; n, fuzz = n+1, fuzz[each:] {
		number := used[int(binary.LittleEndian.Uint16(fuzz))%len(used)]
		if e.pages[number] == nil {
			e.pages[number] = append([]byte(nil), base[number*editedPage:(number+1)*editedPage]...)
		}
		e.pages[number][int(binary.LittleEndian.Uint16(fuzz[2:]))%editedPage] = fuzz[4]
	}
	if sb.v5 {
		for _, page := range e.pages {
			resum(page, sb)
		}
	}
	return e
}

// resum sets the checksums of a page right.
func resum(page []byte, sb *superblock) {
	for at := 0; at < len(page); at += basicBlock {
		switch sector := page[at : at+basicBlock]; string(sector[:4]) {
		case "XFSB":
			setChecksum(sector, superblockCRC)
		case "XAGF":
			setChecksum(sector, agfCRC)
		case "XAGI":
			setChecksum(sector, agiCRC)
		}
	}
	switch string(page[:4]) {
	case "BMA3":
		setChecksum(page, longTreeCRC)
	case "XSLM", "XARM":
		setChecksum(page, remoteCRC)
	case "XDB3", "XDD3", "XDF3":
		setChecksum(page, dirDataCRC)
	}
	if be.Uint16(page) == inodeMagic {
		sb.sum(page, typeInodes)
	}
	switch be.Uint16(page[8:]) {
	case magicDirLeaf1V5, magicDirLeafNV5, magicNodeV5, magicAttrLeafV5:
		setChecksum(page, daCRC)
	}
}

// smallImage makes an image with something of everything, a few MiB large. One of version 5 has a
// log to be replayed.
func smallImage(f *testing.F, version5 bool) ([]byte, *superblock) {
	f.Helper()
	for _, name := range []string{"TEST_DIR", "TEST_DEV", "QA_CHECK_FS"} {
		f.Setenv(name, "1") // lets mkfs.xfs make small ones
	}
	dir := f.TempDir()
	must(f, os.WriteFile(filepath.Join(dir, "empty"), nil, 0o644))
	list := "/dev/null\n0 0\nd--755 0 0\n"
	for _, n := range []int{5, 25, 150, 900} {
		list += fmt.Sprintf("dir%d d--755 0 0\n", n)
		for i := range n {
			list += fmt.Sprintf("name-%d ---644 0 0 %s/empty\n", i, dir)
		}
		list += "$\n"
	}
	list += "null c--666 0 0 1 3\nlink l--777 0 0 target\n$\n"
	must(f, os.WriteFile(filepath.Join(dir, "list"), []byte(list), 0o644))
	mkfs := []string{"mkfs.xfs", "-q", "-b", "size=1024", "-p", filepath.Join(dir, "list")}
	if !version5 {
		mkfs = append(mkfs, "-m", "crc=0")
	}
	image := fstest.Make(f, 16<<20, mkfs...)
	if version5 {
		mount := fstest.Mount(f, image, "nodev")
		fill(f, mount)
		fstest.Run(f, "xfs_io", "-x", "-c", "shutdown -f", mount)
		fstest.Unmount(f, mount)
	}
	b, err := os.ReadFile(image)
	must(f, err)
	fsys, err := Open(&edited{base: b})
	must(f, err)
	fstest.Exercise(fsys)
	// Records without a checksum are taken as they are.
	for at := 0; at < len(b); at += basicBlock {
		if be.Uint32(b[at:]) == recordMagic {
			binary.LittleEndian.PutUint32(b[at+32:], 0)
		}
	}
	sb, err := readSuperblock(&edited{base: b})
	must(f, err)
	return b, sb
}

// fill makes files with trees of extents and attributes, half of which are on the device
// before the crash.
func fill(f *testing.F, mount string) {
	f.Helper()
	file, err := os.Create(filepath.Join(mount, "fragmented"))
	must(f, err)
	defer file.Close()
	_, err = file.Write(make([]byte, 600<<10))
	must(f, err)
	for n := range int64(300) {
		must(f, unix.Fallocate(int(file.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, n*2048, 1024))
		if n == 150 {
			must(f, file.Sync())
			unix.Sync()
		}
	}
	for n := range 60 {
		must(f, unix.Setxattr(file.Name(), fmt.Sprintf("user.attribute-%d", n), make([]byte, n*20), 0))
		must(f, os.Symlink(fmt.Sprintf("%0700d", n), filepath.Join(mount, fmt.Sprintf("long-%d", n))))
		must(f, os.Remove(filepath.Join(mount, fmt.Sprintf("dir900/name-%d", n))))
	}
}

func fuzzImage(f *testing.F, version5 bool) {
	fstest.NeedRoot(f)
	base, sb := smallImage(f, version5)
	var used []int64
	zeros := string(make([]byte, editedPage))
	for n := int64(0); n < int64(len(base))/editedPage; n++ {
		if string(base[n*editedPage:(n+1)*editedPage]) != zeros {
			used = append(used, n)
		}
	}
	f.Add([]byte{})
	f.Add([]byte{0, 0, 10, 0, 255})
	for n := range 40 {
		f.Add([]byte{byte(n * 5), byte(n >> 5), byte(n * 7), byte(n % 4), byte(n * 13), byte(n * 5), 0, byte(n), 1, 255})
	}
	f.Fuzz(func(t *testing.T, fuzz []byte) {
		fsys, err := Open(edit(base, used, fuzz, sb))
		if err == nil {
			fstest.Exercise(fsys)
			return
		}
		for _, known := range []error{filesystem.ErrCorrupt, filesystem.ErrNeedsReplay, filesystem.ErrUnsupported, filesystem.ErrUnknown} {
			if errors.Is(err, known) {
				return
			}
		}
		if !errors.Is(err, io.EOF) && !errors.Is(err, device.ErrOutOfRange) {
			t.Error(err)
		}
	})
}

func FuzzVersion4(f *testing.F) { fuzzImage(f, false) }

func FuzzVersion5WithLog(f *testing.F) { fuzzImage(f, true) }
