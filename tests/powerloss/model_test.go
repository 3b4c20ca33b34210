package powerloss

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// write writes a file, and syncs it or not.
func write(t testing.TB, path, content string, sync bool) {
	t.Helper()
	f, err := os.Create(path)
	must(t, err)
	_, err = f.WriteString(content)
	must(t, err)
	if sync {
		must(t, f.Sync())
	}
	must(t, f.Close())
}

func syncDir(t testing.TB, path string) {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	must(t, f.Sync())
	must(t, f.Close())
}

// long is content that takes more than a few sectors.
func long(word string) string { return strings.Repeat(word+" ", 3000) }

// protocols are ways to replace the file "current", and to bring a file "extra" with it.
// Those that are wrong have to be found out, which shows that the explorer can find such
// mistakes in what it is made for.
var protocols = map[string]struct {
	do func(t testing.TB, dir string)
	// finds is a part of the description of the crash that shows the mistake; empty where
	// there is none.
	finds string
}{
	"right": {do: func(t testing.TB, dir string) {
		write(t, dir+"/extra", long("extra"), true)
		write(t, dir+"/tmp", long("new"), true)
		syncDir(t, dir)
		must(t, os.Rename(dir+"/tmp", dir+"/current"))
		syncDir(t, dir)
	}},
	"in a folder of its own, right": {do: func(t testing.TB, dir string) {
		must(t, os.Mkdir(dir+"/sub", 0o700))
		write(t, dir+"/sub/extra", long("extra"), true)
		syncDir(t, dir+"/sub")
		must(t, os.Rename(dir+"/sub/extra", dir+"/extra"))
		write(t, dir+"/tmp", long("new"), true)
		syncDir(t, dir+"/sub")
		syncDir(t, dir)
		must(t, os.Rename(dir+"/tmp", dir+"/current"))
		syncDir(t, dir)
	}},
	"written in place": {finds: "torn", do: func(t testing.TB, dir string) {
		write(t, dir+"/extra", long("extra"), true)
		syncDir(t, dir)
		f, err := os.OpenFile(dir+"/current", os.O_RDWR, 0)
		must(t, err)
		_, err = f.WriteAt([]byte(long("new")), 0)
		must(t, err)
		must(t, f.Sync())
		must(t, f.Close())
	}},
	"truncated in place": {finds: "operation", do: func(t testing.TB, dir string) {
		write(t, dir+"/extra", long("extra"), true)
		syncDir(t, dir)
		write(t, dir+"/current", long("new"), true)
	}},
	"file not synced": {finds: "lost          ", do: func(t testing.TB, dir string) {
		write(t, dir+"/extra", long("extra"), true)
		write(t, dir+"/tmp", long("new"), false)
		syncDir(t, dir)
		must(t, os.Rename(dir+"/tmp", dir+"/current"))
		syncDir(t, dir)
	}},
	"folder not synced in the end": {finds: "rename tmp to current", do: func(t testing.TB, dir string) {
		write(t, dir+"/extra", long("extra"), true)
		write(t, dir+"/tmp", long("new"), true)
		syncDir(t, dir)
		must(t, os.Rename(dir+"/tmp", dir+"/current"))
	}},
	"other file not synced": {finds: "write extra", do: func(t testing.TB, dir string) {
		write(t, dir+"/extra", long("extra"), false)
		write(t, dir+"/tmp", long("new"), true)
		syncDir(t, dir)
		must(t, os.Rename(dir+"/tmp", dir+"/current"))
		syncDir(t, dir)
	}},
	"other file synced too late": {finds: "write extra", do: func(t testing.TB, dir string) {
		write(t, dir+"/extra", long("extra"), false)
		write(t, dir+"/tmp", long("new"), true)
		syncDir(t, dir)
		must(t, os.Rename(dir+"/tmp", dir+"/current"))
		write(t, dir+"/extra", long("extra"), true)
		syncDir(t, dir)
	}},
	"other file moved from a folder, which only is synced": {finds: "rename extra to extra", do: func(t testing.TB, dir string) {
		must(t, os.Mkdir(dir+"/sub", 0o700))
		write(t, dir+"/sub/extra", long("extra"), true)
		syncDir(t, dir+"/sub")
		write(t, dir+"/tmp", long("new"), true)
		syncDir(t, dir)
		must(t, os.Rename(dir+"/sub/extra", dir+"/extra"))
		syncDir(t, dir+"/sub")
		must(t, os.Rename(dir+"/tmp", dir+"/current"))
		syncDir(t, dir)
	}},
	"other file removed too early": {finds: "operation", do: func(t testing.TB, dir string) {
		must(t, os.Remove(dir+"/old"))
		write(t, dir+"/extra", long("extra"), true)
		write(t, dir+"/tmp", long("new"), true)
		syncDir(t, dir)
		must(t, os.Rename(dir+"/tmp", dir+"/current"))
		syncDir(t, dir)
	}},
}

// checkProtocol wants "current" whole, old or new, new after the mark; with the new
// one "extra", with the old one "old".
func checkProtocol(c Crash) error {
	b, err := os.ReadFile(c.Dir + "/current")
	if err != nil {
		return err
	}
	other, want := "old", long("old")
	switch string(b) {
	case long("old"):
		if len(c.Marks) > 0 {
			return errors.New("the old one after the new one was promised")
		}
	case long("new"):
		other, want = "extra", long("extra")
	default:
		return fmt.Errorf("neither old nor new: %d bytes", len(b))
	}
	if b, err = os.ReadFile(filepath.Join(c.Dir, other)); err != nil {
		return err
	}
	if string(b) != want {
		return fmt.Errorf("%s has %d bytes, not what was written", other, len(b))
	}
	return nil
}

func TestMistakesAreFound(t *testing.T) {
	for name, p := range protocols {
		t.Run(name, func(t *testing.T) {
			folder := t.TempDir()
			write(t, folder+"/current", long("old"), true)
			write(t, folder+"/old", long("old"), true)
			rec := Record(t, folder)
			p.do(t, rec.Dir())
			rec.Mark("new")
			log := rec.Stop()
			for seed := range uint64(3) {
				stats, failure := log.explore(t, Options{Crashes: 200}, seed, checkProtocol)
				t.Logf("%+v", stats)
				if p.finds == "" && failure != "" {
					t.Errorf("it is right, but: %s", failure)
				}
				if p.finds != "" && !strings.Contains(failure, p.finds) {
					t.Errorf("the mistake was not found, or not understood: %q", failure)
				}
				if seed == 0 && failure != "" {
					t.Log(failure)
				}
			}
		})
	}
}

// TestLogGivesTheFolder does many things, by all ways that programs have, and applies the
// log to what was there before.
func TestLogGivesTheFolder(t *testing.T) {
	for seed := range uint64(4) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		folder := t.TempDir()
		write(t, folder+"/f0", long("before"), true)
		must(t, os.MkdirAll(folder+"/d1/d2", 0o700))
		write(t, folder+"/d1/d2/f1", "x", true)
		must(t, os.Link(folder+"/f0", folder+"/d1/f2"))
		rec := Record(t, folder)
		dirs := []string{rec.Dir(), rec.Dir() + "/d1", rec.Dir() + "/d1/d2", rec.Dir() + "/d3"}
		file := func() string { return fmt.Sprintf("%s/f%d", dirs[rnd.IntN(len(dirs))], rnd.IntN(4)) }
		done := 0
		for range 400 {
			if something(t, rnd, file(), file(), dirs[3]) {
				done++
			}
		}
		log := rec.Stop()
		want, err := load(folder, true)
		must(t, err)
		p := newPlan(log)
		got := p.tree(crash{at: len(log.Ops)})
		if got.key() != want.key() {
			t.Errorf("seed %d: the log of %d operations leads elsewhere", seed, len(log.Ops))
			diff(t, got, want)
		}
		if done < 200 {
			t.Errorf("only %d of 400 things could be done", done)
		}
		dir := t.TempDir()
		must(t, got.write(dir))
		again, err := load(dir, true)
		must(t, err)
		if again.key() != got.key() {
			t.Errorf("seed %d: a tree is not what it was once it is written", seed)
		}
	}
}

func diff(t *testing.T, got, want *tree) {
	var list func(tr *tree, n int, at string, into map[string]string)
	list = func(tr *tree, n int, at string, into map[string]string) {
		i := tr.inodes[n]
		if i.names == nil {
			into[at] = fmt.Sprintf("%d bytes, %x", len(i.data), xsum(i.data))
			return
		}
		for name, c := range i.names {
			list(tr, c, at+"/"+name, into)
		}
	}
	a, b := map[string]string{}, map[string]string{}
	list(got, root, "", a)
	list(want, root, "", b)
	t.Logf("got %v\nwant %v", a, b)
}

func xsum(b []byte) uint64 {
	sum := uint64(0)
	for i, c := range b {
		sum += uint64(i+1) * uint64(c)
	}
	return sum
}

// something does one random thing with two files and a folder, and tells whether it
// could be done.
func something(t *testing.T, rnd *rand.Rand, a, b, dir string) bool {
	data := make([]byte, 1+rnd.IntN(20000))
	for i := range data {
		data[i] = byte(rnd.Uint32())
	}
	off := rnd.Int64N(50000)
	open := func(flags int) *os.File {
		f, err := os.OpenFile(a, os.O_RDWR|flags, 0o600)
		if err != nil {
			return nil
		}
		return f
	}
	what := rnd.IntN(15)
	switch what {
	case 0:
		return os.Rename(a, b) == nil
	case 1:
		return os.Link(a, b) == nil
	case 2:
		return os.Remove(a) == nil
	case 3:
		return os.WriteFile(a, data, 0o600) == nil
	case 4:
		return os.Truncate(a, off) == nil
	case 5:
		if err := os.Mkdir(dir, 0o700); err == nil {
			return true
		}
		return os.Remove(dir) == nil
	case 6: // a folder moved there and back
		return os.Rename(dir, dir+"x") == nil && os.Rename(dir+"x", dir) == nil
	}
	flags := map[int]int{7: os.O_CREATE, 8: os.O_APPEND, 9: unix.O_DIRECT | os.O_CREATE, 10: os.O_TRUNC}[what]
	f := open(flags)
	if f == nil {
		return false
	}
	defer f.Close()
	fd := int(f.Fd())
	switch what {
	case 8:
		_, err := f.Write(data)
		must(t, err)
	case 9:
		size := 4096 * (1 + rnd.IntN(3))
		m, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE) // aligned
		must(t, err)
		defer func() { must(t, unix.Munmap(m)) }()
		copy(m, data)
		_, err = f.WriteAt(m, off/4096*4096)
		must(t, err)
	case 11:
		must(t, unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, int64(len(data))))
	case 12:
		return unix.Fallocate(fd, []uint32{0, unix.FALLOC_FL_KEEP_SIZE, unix.FALLOC_FL_ZERO_RANGE,
			unix.FALLOC_FL_ZERO_RANGE | unix.FALLOC_FL_KEEP_SIZE}[rnd.IntN(4)], off, int64(len(data))) == nil
	case 13:
		must(t, f.Truncate(off+1))
		m, err := unix.Mmap(fd, 0, int(off+1), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		must(t, err)
		copy(m, data)
		must(t, unix.Munmap(m))
		must(t, f.Sync())
	case 14: // after its name is gone
		must(t, os.Remove(a))
		_, err := f.WriteAt(data, off)
		must(t, err)
		must(t, f.Truncate(10))
	default:
		_, err := f.WriteAt(data, off)
		must(t, err)
	}
	if _, err := os.Stat(a); errors.Is(err, fs.ErrNotExist) && what != 14 {
		t.Errorf("%s is gone", a)
	}
	return true
}

func TestTornWritesAreParts(t *testing.T) {
	data := make([]byte, 10000)
	for i := range data {
		data[i] = 1
	}
	o := Op{Kind: Write, Inode: 1, Offset: 700, Length: int64(len(data)), Data: data}
	counts := map[int]bool{}
	for seed := range uint64(200) {
		there := 0
		for _, part := range tear(o, seed) {
			there += len(part.Data)
			if part.Offset != 700 && part.Offset%512 != 0 || int(part.Length) != len(part.Data) || part.Offset+part.Length > 10700 {
				t.Fatalf("seed %d: part [%d, +%d)", seed, part.Offset, part.Length)
			}
		}
		counts[there] = true
	}
	if len(counts) < 20 {
		t.Errorf("there are only %d ways to tear it", len(counts))
	}
}
