package btrfs

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"vmsync/fusefs/filesystem"
	"vmsync/fusefs/filesystem/fstest"
)

// session changes a mounted filesystem, and fsyncs some of it.
type session struct {
	testing.TB
	dir    string
	random *rand.Rand
}

func (s *session) path(name string) string { return filepath.Join(s.dir, name) }

func (s *session) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *session) bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(s.random.Uint32() >> 5)
	}
	return b
}

func (s *session) write(name string, off int64, b []byte) {
	s.Helper()
	file, err := os.OpenFile(s.path(name), os.O_CREATE|os.O_WRONLY, 0o644)
	s.must(err)
	defer file.Close()
	_, err = file.WriteAt(b, off)
	s.must(err)
}

func (s *session) fsync(name string) {
	s.Helper()
	file, err := os.Open(s.path(name))
	s.must(err)
	defer file.Close()
	s.must(file.Sync())
}

// prepare makes what is committed before.
func (s *session) prepare() {
	for _, dir := range []string{"a", "b", "c", "c/deep", "doomed"} {
		s.must(os.MkdirAll(s.path(dir), 0o755))
	}
	for n := range 30 {
		s.write(fmt.Sprintf("a/file-%d", n), 0, s.bytes(100*n*n))
		s.write(fmt.Sprintf("c/file-%d", n), 0, s.bytes(10))
	}
	s.write("big", 0, s.bytes(3<<20))
	s.write("source", 0, s.bytes(300000))
	s.must(unix.Setxattr(s.path("a/file-3"), "user.old", []byte("old"), 0))
	s.must(unix.Setxattr(s.path("a/file-3"), "user.kept", bytes.Repeat([]byte("k"), 500), 0))
	s.must(os.Link(s.path("a/file-4"), s.path("b/link-4")))
	fstest.Run(s, "btrfs", "subvolume", "create", s.path("sub"))
	s.write("sub/file", 0, s.bytes(20000))
	fstest.Run(s, "sync", "-f", s.dir)
}

func TestReplaysTheLog(t *testing.T) {
	for _, test := range []struct {
		name   string
		mkfs   []string
		mount  string
		change func(s *session)
	}{
		{name: "new files", change: func(s *session) {
			for n := range 20 {
				name := fmt.Sprintf("b/new-%d", n)
				s.write(name, 0, s.bytes(700*n*n))
				s.fsync(name)
			}
		}},
		{name: "overwritten", change: func(s *session) {
			for n := range 60 {
				s.write("big", int64(s.random.IntN(3<<20)), s.bytes(1+s.random.IntN(20000)))
				if n%7 == 6 {
					s.fsync("big")
				}
			}
			s.write("a/file-2", 10, s.bytes(20))
			s.fsync("a/file-2")
			s.write("a/file-29", 5000, s.bytes(20000))
			s.fsync("a/file-29")
		}},
		{name: "truncated, punched and preallocated", change: func(s *session) {
			s.must(os.Truncate(s.path("a/file-20"), 12345))
			s.fsync("a/file-20")
			s.must(os.Truncate(s.path("a/file-21"), 1<<20))
			s.fsync("a/file-21")
			fstest.Run(s, "xfs_io", "-c", "fpunch 100000 300001", "-c", "falloc -k 3200000 500000", "-c", "fsync", s.path("big"))
			fstest.Run(s, "xfs_io", "-f", "-c", "falloc 0 300000", "-c", "pwrite 8192 10000", "-c", "fsync", s.path("pre"))
			fstest.Run(s, "xfs_io", "-c", "reflink "+s.path("source")+" 40960 131072 81920", "-c", "fsync", s.path("big"))
		}},
		{name: "explicit holes", mkfs: []string{"-O", "^no-holes"}, change: func(s *session) {
			fstest.Run(s, "xfs_io", "-c", "fpunch 100000 300001", "-c", "truncate 4000000", "-c", "pwrite 3900000 10", "-c", "fsync", s.path("big"))
			s.write("sparse", 1<<20, s.bytes(10000))
			s.fsync("sparse")
		}},
		{name: "compressed", mount: "compress=zstd", change: func(s *session) {
			s.write("text", 0, bytes.Repeat([]byte("some words, "), 40000))
			s.fsync("text")
			s.write("text", 100000, bytes.Repeat([]byte("other words, "), 4000))
			s.fsync("text")
		}},
		{name: "without checksums", mount: "nodatasum", change: func(s *session) {
			s.write("plain", 0, s.bytes(200000))
			s.fsync("plain")
		}},
		{name: "sha256", mkfs: []string{"--csum", "sha256", "-n", "4096"}, change: func(s *session) {
			for n := range 20 {
				s.write("big", int64(n*150000), s.bytes(70000))
				s.fsync("big")
			}
		}},
		{name: "names of a directory", change: func(s *session) {
			for n := range 10 {
				s.must(os.Remove(s.path(fmt.Sprintf("c/file-%d", n*3))))
				s.write(fmt.Sprintf("c/new-%d", n), 0, s.bytes(n*1000))
			}
			s.must(os.Mkdir(s.path("c/dir"), 0o700))
			s.write("c/dir/inner", 0, s.bytes(50))
			s.must(os.Symlink("somewhere", s.path("c/symlink")))
			s.must(unix.Mknod(s.path("c/null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
			s.fsync("c")
		}},
		{name: "links and renames", change: func(s *session) {
			s.must(os.Link(s.path("a/file-5"), s.path("b/link-5")))
			s.fsync("a/file-5")
			s.must(os.Rename(s.path("a/file-6"), s.path("a/renamed-6")))
			s.fsync("a/renamed-6")
			s.must(os.Rename(s.path("a/file-7"), s.path("b/moved-7")))
			s.fsync("b/moved-7")
			s.write("a/replacement", 0, s.bytes(5000))
			s.must(os.Rename(s.path("a/replacement"), s.path("a/file-8")))
			s.fsync("a/file-8")
			s.must(os.Remove(s.path("b/link-4")))
			s.fsync("a/file-4")
			s.fsync("b")
		}},
		{name: "many links", change: func(s *session) {
			for n := range 300 {
				s.must(os.Link(s.path("a/file-9"), s.path(fmt.Sprintf("b/%0100d", n))))
			}
			fstest.Run(s, "sync", "-f", s.dir)
			s.write("a/file-9", 100, s.bytes(20000))
			s.fsync("a/file-9")
		}},
		{name: "attributes", change: func(s *session) {
			s.must(unix.Removexattr(s.path("a/file-3"), "user.old"))
			s.must(unix.Setxattr(s.path("a/file-3"), "user.new", []byte("new"), 0))
			s.must(os.Chmod(s.path("a/file-3"), 0o4711))
			s.must(os.Chown(s.path("a/file-3"), 77, 88))
			s.fsync("a/file-3")
			s.must(unix.Setxattr(s.path("a"), "user.dir", []byte("dir"), 0))
			s.fsync("a")
		}},
		{name: "a subvolume", change: func(s *session) {
			s.write("sub/file", 3000, s.bytes(9000))
			s.fsync("sub/file")
			s.write("sub/new", 0, s.bytes(9000))
			s.fsync("sub/new")
			s.write("top", 0, s.bytes(9000))
			s.fsync("top")
		}},
		{name: "roots", change: func(s *session) {
			for _, root := range []string{".", "sub"} {
				s.write(root+"/new", 0, s.bytes(100))
				s.must(unix.Setxattr(s.path(root), "user.root", []byte("root"), 0))
				s.fsync(root)
			}
		}},
		{name: "data shared with a subvolume", change: func(s *session) {
			s.write("whole", 0, s.bytes(1<<20))
			s.fsync("whole")
			whole := "reflink " + s.path("whole")
			fstest.Run(s, "xfs_io", "-f", "-c", whole+" 0 0 65536", "-c", whole+" 262144 131072 65536", "-c", "fsync", s.path("sub/parts"))
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			replays(t, 3, fstest.Ignore{}, test.mkfs, test.mount, test.change)
		})
	}
}

// replays holds the reader against the kernel's replay of the same log.
func replays(t *testing.T, seed uint64, ignore fstest.Ignore, mkfs []string, options string, change func(s *session)) {
	t.Helper()
	var fsys filesystem.FS
	var copied images
	for range 5 {
		i := makeImages(t, 1, 256<<20, mkfs...)
		dir, unmount := i.mount(t, "noatime,commit=300,"+options)
		s := &session{t, dir, rand.New(rand.NewPCG(seed, 3))}
		s.prepare()
		change(s)
		copied = i.copies(t)
		unmount()
		// Anyone's sync(2) commits, and then there is no log.
		if fsys = copied.open(t); fsys.Info().Replayed {
			break
		}
	}
	if !fsys.Info().Replayed {
		t.Fatal("there is no log")
	}
	dir, unmount := copied.copies(t).mount(t, "noatime")
	defer unmount()
	fstest.Compare(t, fsys, dir, ignore)
}

// TestReplaysRandomSessions does to a filesystem whatever programs do, in no order.
func TestReplaysRandomSessions(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			replays(t, seed, fstest.Ignore{Ctime: true}, []string{"-n", "4096"}, "", func(s *session) {
				for range 150 {
					s.step()
				}
				s.write("last", 0, s.bytes(100))
				s.fsync("last")
			})
		})
	}
}

// step does something to a file or a name. What the kernel refuses is no error: a name
// may be taken, or gone.
func (s *session) step() {
	dirs := []string{"a", "b", "c", "c/deep", "doomed", "a/d0", "b/d1", "c/d2"}
	dir := func() string { return dirs[s.random.IntN(len(dirs))] }
	name := func() string { return fmt.Sprintf("%s/file-%d", dir(), s.random.IntN(12)) }
	switch s.random.IntN(12) {
	case 0, 1:
		if file, err := os.OpenFile(s.path(name()), os.O_CREATE|os.O_RDWR, 0o644); err == nil {
			file.WriteAt(s.bytes(1+s.random.IntN(30000)), int64(s.random.IntN(50000)))
			file.Close()
		}
	case 2:
		os.Remove(s.path(name()))
	case 3:
		os.Rename(s.path(name()), s.path(name()))
	case 4:
		os.Link(s.path(name()), s.path(name()))
	case 5:
		os.Truncate(s.path(name()), int64(s.random.IntN(60000)))
	case 6:
		unix.Setxattr(s.path(name()), fmt.Sprintf("user.%d", s.random.IntN(4)), s.bytes(s.random.IntN(100)), 0)
	case 7:
		os.Mkdir(s.path(dirs[5+s.random.IntN(3)]), 0o755)
	case 8:
		os.Rename(s.path(dirs[5+s.random.IntN(3)]), s.path(dirs[5+s.random.IntN(3)]))
	default:
		of := name()
		if s.random.IntN(4) == 0 {
			of = dir()
		}
		if file, err := os.Open(s.path(of)); err == nil {
			file.Sync()
			file.Close()
		}
	}
}

func TestChangesOfALogAreBounded(t *testing.T) {
	for name, put := range map[string]func(o *overlay, n uint64) error{
		"items": func(o *overlay, n uint64) error { return o.put(key{n, 1, 0}, []byte{}) },
		"bytes": func(o *overlay, n uint64) error { return o.put(key{n, 1, 0}, make([]byte, 4000)) },
		"steps": func(o *overlay, _ uint64) error { return o.budget.step(1 << 16) },
	} {
		o := &overlay{budget: &changeBudget{}}
		var err error
		for n := uint64(0); n <= maxChanges && err == nil; n++ {
			err = put(o, n)
		}
		if !errors.Is(err, filesystem.ErrNeedsReplay) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
