package e2e

import (
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	gosync "sync"
	"syscall"
	"testing"
	"time"

	"vmsync/fusefs/filesystem/fstest"
	"vmsync/tests/lab"
)

var soak = flag.Int("soak", 12, "rounds of TestMountStaysRightThroughSyncsAndPrunes")

// soaked is what the states of a machine hold: the digests of its disk and of the file
// in its filesystem, by the state's name.
type soaked struct {
	mu    gosync.Mutex
	truth map[string][2]string
}

func (s *soaked) of(state string) (digests [2]string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	digests, ok = s.truth[state]
	return digests, ok
}

func (s *soaked) know(state string, digests [2]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.truth[state] = digests
}

// TestMountStaysRightThroughSyncsAndPrunes syncs and prunes under a mounted tree, with
// readers that compare whatever states they find with the truth, all the time, and one
// that holds a file open for long.
func TestMountStaysRightThroughSyncsAndPrunes(t *testing.T) {
	const size = 24 * mib
	image := rawFile(t, "vda", size)
	fstest.Run(t, "mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0", image)
	at, length := fileOnDisk(t, image, "stamp", mib)
	m := machine(t, qcow2("vda", size))
	putDisk(t, m, "vda", image, "")
	content, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	s := &soaked{truth: map[string][2]string{}}
	round := func(i int) {
		t.Helper()
		rewrite(t, m, content, at, length, i)
		digests := [2]string{digest(content), digest(content[at : at+length])}
		s.know(sync(t, m.Name(), "--keep", "3").State, digests)
	}
	round(0)
	unmount := mounted(t)
	root := hostb.Path(filepath.Join(mountPoint, m.Name()))
	done := make(chan struct{})
	var readers gosync.WaitGroup
	var reads [4]int
	for i := range reads {
		readers.Go(func() { reads[i] = s.read(t, root, uint64(i), i == 0, done) })
	}
	var before, after usage
	for i := 1; i <= *soak; i++ {
		if round(i); i == max(1, *soak/5) {
			before = usageOf(t)
		}
		if t.Failed() {
			break
		}
	}
	after = usageOf(t)
	close(done)
	readers.Wait()
	t.Logf("%d rounds; %v reads were right; the mount took %v after a fifth, %v at the end", *soak, reads, before, after)
	if after.files > before.files+200 || after.threads > before.threads+20 || after.rss > before.rss+48*mib {
		t.Errorf("the mount took %v after a fifth of the rounds, %v at the end", before, after)
	}
	// Nobody holds a state any more but for a while: what is not kept goes.
	unmount()
	sync(t, m.Name())
	if n := len(manifest(t, m.Name()).States); n != 3 {
		t.Errorf("%d states are left", n)
	}
}

// fileOnDisk puts a file into an ext4 filesystem, and tells where it lies, in one piece.
func fileOnDisk(t *testing.T, image, name string, length int64) (offset, size int64) {
	t.Helper()
	dir := fstest.Mount(t, image, "rw")
	if err := os.WriteFile(filepath.Join(dir, name), make([]byte, length), 0o644); err != nil {
		t.Fatal(err)
	}
	fstest.Run(t, "sync", "-f", dir)
	fstest.Unmount(t, dir)
	out := strings.Fields(fstest.Run(t, "debugfs", "-R", "blocks /"+name, image))
	block := fstest.Run(t, "dumpe2fs", "-h", image)
	_, block, _ = strings.Cut(block, "Block size:")
	unit, err := strconv.ParseInt(strings.TrimSpace(strings.SplitN(block, "\n", 2)[0]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	var blocks []int64
	for _, word := range out {
		if n, err := strconv.ParseInt(word, 10, 64); err == nil {
			blocks = append(blocks, n)
		}
	}
	// Holes have no blocks: the file is of data that is not zero when it is written anew.
	if int64(len(blocks)) != length/unit || blocks[len(blocks)-1]-blocks[0] != int64(len(blocks))-1 {
		t.Skipf("the file is not in one piece: %d blocks from %d to %d", len(blocks), blocks[0], blocks[len(blocks)-1])
	}
	return blocks[0] * unit, length
}

// rewrite changes the file's content on the running machine's disk, below the filesystem.
func rewrite(t *testing.T, m *lab.Machine, content []byte, at, length int64, round int) {
	t.Helper()
	rng := rand.New(rand.NewPCG(uint64(round), 7))
	var commands []lab.DiskCommand
	for range 6 {
		off := at + rng.Int64N(length/4096)*4096
		n := min(4096*(1+rng.Int64N(40)), at+length-off)
		b := byte(1 + rng.IntN(255))
		for i := off; i < off+n; i++ {
			content[i] = b
		}
		commands = append(commands, lab.DiskCommand{Target: "vda", Command: fmt.Sprintf("write -q -P %d %d %d", b, off, n)})
	}
	if _, err := m.QemuIOBatch(t.Context(), commands); err != nil {
		t.Fatal(err)
	}
}

// read compares what it finds with the truth until done, and returns how often. With
// hold it keeps each file open for a while and reads it again and again.
func (s *soaked) read(t *testing.T, root string, seed uint64, hold bool, done chan struct{}) (reads int) {
	rng := rand.New(rand.NewPCG(seed, 3))
	for {
		select {
		case <-done:
			return reads
		default:
		}
		entries, err := os.ReadDir(filepath.Join(root, "states"))
		if err != nil || len(entries) == 0 {
			t.Errorf("list states: %v, %d", err, len(entries))
			return reads
		}
		state := entries[rng.IntN(len(entries))].Name()
		want, known := s.of(state)
		if !known {
			time.Sleep(10 * time.Millisecond) // its sync has not ended yet
			continue
		}
		which, times := rng.IntN(2), 1
		if hold {
			times = 20
		}
		path := filepath.Join(root, "states", state, []string{"disks/vda.raw", "files/vda/stamp"}[which])
		n, err := readAgain(path, want[which], times, done)
		reads += n
		if errors.Is(err, fs.ErrNotExist) {
			continue // it was pruned meanwhile
		}
		if err != nil {
			t.Errorf("after %d reads: %v", reads, err)
			return reads
		}
	}
}

// readAgain reads an open file several times. Once it is open nothing may change.
func readAgain(path, want string, times int, done chan struct{}) (reads int, err error) {
	file, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	for range times {
		sum := sha256.New()
		if _, err := file.Seek(0, io.SeekStart); err != nil {
			return reads, err
		}
		if _, err := io.Copy(sum, file); err != nil {
			return reads, errors.Join(fmt.Errorf("an open file cannot be read: %w", errNotGone(err)))
		}
		if got := fmt.Sprintf("%x", sum.Sum(nil)); got != want {
			return reads, fmt.Errorf("%s reads wrong: %s, not %s", path, got, want)
		}
		reads++
		if times == 1 {
			break
		}
		select {
		case <-done:
			return reads, nil
		case <-time.After(200 * time.Millisecond):
		}
	}
	return reads, nil
}

// errNotGone makes an error of reading never look like that of a file which is gone.
func errNotGone(err error) error { return errors.New(err.Error()) }

func digest(b []byte) string { return fmt.Sprintf("%x", sha256.Sum256(b)) }

// usage is what the mounting program takes.
type usage struct {
	files, threads int
	rss            int64 // bytes
}

func (u usage) String() string {
	return fmt.Sprintf("%d files, %d threads, %d MiB", u.files, u.threads, u.rss/mib)
}

func usageOf(t *testing.T) (u usage) {
	t.Helper()
	pids, err := hostb.Pids(t.Context(), "vmsync mount")
	if err != nil || len(pids) == 0 {
		t.Errorf("the mounting program is not there: %v", err)
		return u
	}
	proc := hostb.Path(fmt.Sprintf("/proc/%d", pids[0]))
	files, err := os.ReadDir(proc + "/fd")
	if err != nil && !errors.Is(err, syscall.ENOENT) {
		t.Error(err)
	}
	status, err := os.ReadFile(proc + "/status")
	if err != nil {
		t.Error(err)
	}
	u.files = len(files)
	u.threads = int(field(string(status), "Threads:"))
	u.rss = field(string(status), "VmRSS:") * 1024
	return u
}

func field(status, name string) int64 {
	_, rest, _ := strings.Cut(status, name)
	n, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	return n
}
