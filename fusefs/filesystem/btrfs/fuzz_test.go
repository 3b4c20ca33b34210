package btrfs

import (
	"encoding/binary"
	"io"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"vmsync/fusefs/device"
	"vmsync/fusefs/filesystem/fstest"
)

const fuzzPage = 4096

// sparseImage holds the pages of an image that are not zeros.
type sparseImage struct {
	size  int64
	pages map[int64][]byte
	order []int64 // of pages, for edits
}

func loadSparse(t testing.TB, image string) *sparseImage {
	t.Helper()
	d := fstest.Open(t, image)
	s := &sparseImage{size: d.Size(), pages: map[int64][]byte{}}
	for off := int64(0); off < s.size; {
		start, end, err := d.Data(off)
		if err != nil {
			t.Fatal(err)
		}
		for at := start / fuzzPage * fuzzPage; at < end; at += fuzzPage {
			b := make([]byte, fuzzPage)
			if _, err := d.ReadAt(b, at); err != nil && err != io.EOF {
				t.Fatal(err)
			}
			if strings.Trim(string(b), "\x00") != "" {
				s.pages[at] = b
				s.order = append(s.order, at)
			}
		}
		off = end
	}
	return s
}

// edited is an image with some pages replaced.
type edited struct {
	*sparseImage
	changed map[int64][]byte
}

func (e *edited) Size() int64 { return e.size }

func (e *edited) Data(off int64) (int64, int64, error) { return min(off, e.size), e.size, nil }

func (e *edited) ReadAt(p []byte, off int64) (int, error) {
	return device.ReadWithin(p, off, e.size, func(p []byte, off int64) (int, error) {
		for n := 0; n < len(p); {
			at := (off + int64(n)) / fuzzPage * fuzzPage
			page := e.changed[at]
			if page == nil {
				page = e.pages[at]
			}
			in := int(off + int64(n) - at)
			step := min(len(p)-n, fuzzPage-in)
			if page == nil {
				clear(p[n : n+step])
			} else {
				copy(p[n:n+step], page[in:])
			}
			n += step
		}
		return len(p), nil
	})
}

// edit applies a list of edits: which page, where in it, and up to 8 bytes to put there,
// the first of which says how many.
func (s *sparseImage) edit(edits []byte) *edited {
	e := &edited{s, map[int64][]byte{}}
	for len(edits) >= 6 && len(e.changed) < 64 {
		at := s.order[int(binary.LittleEndian.Uint16(edits))%len(s.order)]
		in := int(binary.LittleEndian.Uint16(edits[2:])) % fuzzPage
		n := 1 + int(edits[4])%8
		page := e.changed[at]
		if page == nil {
			page = append([]byte(nil), s.pages[at]...)
			e.changed[at] = page
		}
		edits = edits[5:]
		copied := copy(page[in:], edits[:min(n, len(edits))])
		edits = edits[copied:]
	}
	return e
}

// fuzzImage is a small filesystem with something of everything, and a log.
func fuzzImage(t testing.TB) *sparseImage {
	t.Helper()
	i := makeImages(t, 1, 128<<20, "-n", "4096", "-m", "single")
	dir, unmount := i.mount(t, "compress-force=zstd,commit=300")
	for _, method := range []string{"zlib", "lzo", "zstd"} {
		write(t, filepath.Join(dir, "packed", method), "")
		fstest.Run(t, "btrfs", "property", "set", filepath.Join(dir, "packed", method), "compression", method)
		write(t, filepath.Join(dir, "packed", method), strings.Repeat("pack it ", 2000))
		write(t, filepath.Join(dir, "packed", method+"-inline"), strings.Repeat("pack ", 100))
	}
	subvolumes(t, dir)
	fstest.Run(t, "setfattr", "-n", "user.x", "-v", "value", filepath.Join(dir, "packed"))
	fstest.Run(t, "ln", "-s", "target", filepath.Join(dir, "link"))
	fstest.Run(t, "xfs_io", "-f", "-c", "pwrite 65536 10000", "-c", "falloc 200000 9000", filepath.Join(dir, "sparse"))
	fstest.Run(t, "sync", "-f", dir)
	s := &session{t, dir, rand.New(rand.NewPCG(5, 5))}
	for _, name := range []string{"packed/new", "home/logged"} {
		write(t, s.path(name), strings.Repeat("logged", 3000))
		s.fsync(name)
	}
	fstest.Run(t, "mv", s.path("packed/new"), s.path("packed/newer"))
	s.fsync("packed/newer")
	s.fsync("packed")
	copied := i.copies(t)
	unmount()
	return loadSparse(t, copied[0])
}

func FuzzHostileImage(f *testing.F) {
	image := fuzzImage(f)
	random := rand.New(rand.NewPCG(9, 9))
	f.Add([]byte{})
	for range 200 {
		edits := make([]byte, 1+random.IntN(60))
		for i := range edits {
			edits[i] = byte(random.Uint32())
		}
		f.Add(edits)
	}
	f.Fuzz(func(t *testing.T, edits []byte) {
		fsys, err := open([]device.Device{image.edit(edits)}, unchecked)
		if err != nil {
			if len(edits) == 0 {
				t.Fatal(err)
			}
			return
		}
		fstest.Exercise(fsys)
	})
}

func FuzzLZO(f *testing.F) {
	f.Add([]byte("\x16hello\x11\x00\x00"), uint16(100))
	f.Fuzz(func(t *testing.T, packed []byte, size uint16) {
		plain := make([]byte, size)
		if n, _ := lzo1x(plain, packed); n > len(plain) {
			t.Fatal("more than there is room for")
		}
		unpackLZO(plain, packed, 4096)
	})
}
