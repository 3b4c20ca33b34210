package store

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long a test waits for what should take moments.
const patience = time.Minute

// replica makes a store with a replica that holds states of these generations, with a file
// for each image. It returns the store's folder, and the replica's, locked.
func replica(t *testing.T, generations ...int64) (string, *Folder, *Manifest) {
	t.Helper()
	dir := t.TempDir()
	f := lock(t, dir)
	m := held(generations...)
	for i := range m.States {
		s := &m.States[i]
		if err := os.WriteFile(f.Path(ImageName("vda", s.Generation)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Save(m); err != nil {
		t.Fatal(err)
	}
	return dir, f, m
}

func pinState(t *testing.T, dir, name, what string) *Pin {
	t.Helper()
	p, err := PinState(t.Context(), dir, "vm1", name, what)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Release)
	return p
}

// pinned lists who holds what, as "GENERATION WHAT".
func pinned(t *testing.T, f *Folder) []string {
	t.Helper()
	held, err := f.Pinned(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for g, holders := range held {
		for _, h := range holders {
			list = append(list, fmt.Sprintf("%d %s", g, h.What))
		}
	}
	slices.Sort(list)
	return list
}

// listed are the generations in the manifest on disk.
func listed(t *testing.T, f *Folder) []int64 {
	t.Helper()
	m, err := f.Load()
	if err != nil {
		t.Fatal(err)
	}
	var list []int64
	for _, s := range m.States {
		list = append(list, s.Generation)
	}
	return list
}

func TestPinnedStateStaysListed(t *testing.T) {
	dir, f, m := replica(t, 7, 8, 9) // and its lock is held by a run
	p := pinState(t, dir, "vmsync-3f2a9c1b-7", "mount /mnt")
	if p.State.Generation != 7 || p.State != &p.Manifest.States[0] || p.Dir() != f.Dir() {
		t.Errorf("pinned %+v in %s", p.State, p.Dir())
	}
	if _, err := os.Stat(p.Path(p.State.Disks[0].Image)); err != nil {
		t.Error(err)
	}
	held, err := f.Unlist(t.Context(), m, 7, 8, 1000)
	if err != nil {
		t.Fatal(err)
	}
	if len(held) != 1 || len(held[7]) != 1 {
		t.Fatalf("held: %v", held)
	}
	h := held[7][0]
	if h.Pid != os.Getpid() || h.What != "mount /mnt" || h.State != "2026-11-21T070000Z" || time.Since(h.Since).Abs() > patience {
		t.Errorf("holder: %+v", h)
	}
	if got := listed(t, f); !slices.Equal(got, []int64{7, 9}) {
		t.Errorf("the manifest lists %d", got)
	}
	if len(m.States) != 2 || m.States[0].Generation != 7 || m.States[1].Generation != 9 {
		t.Errorf("in memory are %+v", m.States)
	}
	p.Release()
	p.Release()
	if held, err := f.Unlist(t.Context(), m, 7); err != nil || held.Err() != nil {
		t.Errorf("after its release: %v, %v", held, err)
	}
	if got := listed(t, f); !slices.Equal(got, []int64{9}) {
		t.Errorf("the manifest lists %d", got)
	}
}

func TestPinsOfOthersDoNotHoldAState(t *testing.T) {
	dir, f, m := replica(t, 7, 8)
	pinState(t, dir, Latest, "8")
	if held, err := f.Unlist(t.Context(), m, 7); err != nil || len(held) != 0 {
		t.Errorf("%v, %v", held, err)
	}
	if _, err := PinState(t.Context(), dir, "vm1", "vmsync-3f2a9c1b-7", ""); !errors.Is(err, ErrNoState) {
		t.Errorf("a state that has gone: %v", err)
	}
	if got := pinned(t, f); !slices.Equal(got, []string{"8 8"}) {
		t.Errorf("%q", got)
	}
}

func TestPinnedErrorNamesTheHolders(t *testing.T) {
	dir, f, m := replica(t, 7, 8)
	pinState(t, dir, "vmsync-3f2a9c1b-7", "mount /mnt")
	second := pinState(t, dir, "vmsync-3f2a9c1b-7", "export vda")
	held, err := f.Unlist(t.Context(), m, 7)
	if err != nil {
		t.Fatal(err)
	}
	err = fmt.Errorf("forget: %w", held.Err())
	var pinnedErr *PinnedError
	if !errors.Is(err, ErrPinned) || !errors.As(err, &pinnedErr) || len(pinnedErr.Held[7]) != 2 {
		t.Fatal(err)
	}
	for _, part := range []string{"state 2026-11-21T070000Z is in use by ", fmt.Sprintf("mount /mnt (process %d)", os.Getpid()), "export vda ("} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not say %q", err, part)
		}
	}
	second.Release()
	if held, err := f.Unlist(t.Context(), m, 7); err != nil || len(held[7]) != 1 {
		t.Errorf("%v, %v", held, err)
	}
}

func TestPinOfWhatIsNotThere(t *testing.T) {
	dir := t.TempDir()
	if _, err := PinState(t.Context(), dir, "vm1", Latest, ""); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no store: %v", err)
	}
	if err := os.Mkdir(filepath.Join(dir, "vm1"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := PinState(t.Context(), dir, "vm1", Latest, ""); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no manifest: %v", err)
	}
	if entries, _ := os.ReadDir(filepath.Join(dir, "vm1")); len(entries) > 0 {
		t.Errorf("it made %v in a folder that is no replica's", entries)
	}
	if _, err := PinState(t.Context(), dir, "../vm1", Latest, ""); err == nil {
		t.Error("a domain outside of the store was accepted")
	}
	f := lock(t, dir)
	if _, err := f.Create("vm1"); err != nil {
		t.Fatal(err)
	}
	if _, err := PinState(t.Context(), dir, "vm1", Latest, ""); !errors.Is(err, ErrNoState) {
		t.Errorf("no state: %v", err)
	}
	if got := pinned(t, f); len(got) > 0 {
		t.Errorf("pins are left: %q", got)
	}
}

func TestFailedUnlistChangesNothing(t *testing.T) {
	_, f, m := replica(t, 7, 8)
	m.Pair = "not hex"
	if _, err := f.Unlist(t.Context(), m, 7); err == nil {
		t.Error("saved")
	}
	if len(m.States) != 2 || !slices.Equal(listed(t, f), []int64{7, 8}) {
		t.Error("the state is gone")
	}
}

func TestWaitForThePinsLockEndsWithItsContext(t *testing.T) {
	dir, f, m := replica(t, 7, 8)
	inside, done := make(chan struct{}), make(chan struct{})
	go f.WithPins(t.Context(), func(Held) error { close(inside); <-done; return nil })
	<-inside
	defer close(done)
	reason := errors.New("gave up")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, reason)
	defer cancel()
	if _, err := PinState(ctx, dir, "vm1", Latest, ""); !errors.Is(err, reason) {
		t.Errorf("pin: %v", err)
	}
	if _, err := f.Unlist(ctx, m, 7); !errors.Is(err, reason) {
		t.Errorf("unlist: %v", err)
	}
}

func TestOtherFilesAmongThePinsAreLeftAlone(t *testing.T) {
	dir, f, _ := replica(t, 7)
	pinState(t, dir, Latest, "it")
	names := []string{"pins/README", "pins/7.0123456789abcdef.bak", "pins/lock", "pins/99999999999999999999.0123456789abcdef"}
	for _, n := range names {
		if err := os.WriteFile(f.Path(n), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got := pinned(t, f); !slices.Equal(got, []string{"7 it"}) {
		t.Errorf("%q", got)
	}
	for _, n := range names {
		if _, err := os.Stat(f.Path(n)); err != nil {
			t.Error(err)
		}
	}
}

func TestPinThatCannotBeReadHoldsNevertheless(t *testing.T) {
	dir, f, m := replica(t, 7, 8)
	p := pinState(t, dir, "vmsync-3f2a9c1b-7", "it")
	if err := p.file.Truncate(0); err != nil {
		t.Fatal(err)
	}
	held, err := f.Unlist(t.Context(), m, 7)
	if err != nil || !errors.Is(held.Err(), ErrPinned) {
		t.Errorf("%v, %v", held, err)
	}
}

func TestAbandonedFolderOfPinsIsGone(t *testing.T) {
	dir := t.TempDir()
	f := lock(t, dir)
	if _, err := f.Create("vm1"); err != nil {
		t.Fatal(err)
	}
	if got := pinned(t, f); len(got) > 0 {
		t.Errorf("%q", got)
	}
	stale := f.Path("pins/7.0123456789abcdef")
	if err := os.WriteFile(stale, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f.Abandon(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(f.Dir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
}

// holderEnv makes a process of this test binary a holder: see TestHolderProcess.
const holderEnv = "VMSYNC_TEST_HOLDER"

// TestHolderProcess is no test: it is what other processes run. It pins the head of
// the replica in the store that the environment names, says so, and waits to be killed.
func TestHolderProcess(t *testing.T) {
	dir := os.Getenv(holderEnv)
	if dir == "" {
		t.Skip("run by other tests")
	}
	p, err := PinState(t.Context(), dir, "vm1", Latest, "another process")
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("pinned", p.State.Generation)
	time.Sleep(patience)
}

// holder starts a process that holds a pin of the head, and kills it in the end.
func holder(t *testing.T, dir string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestHolderProcess$", "-test.v")
	cmd.Env = append(os.Environ(), holderEnv+"="+dir)
	cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "pinned") {
			return cmd
		}
	}
	t.Fatal("the other process pinned nothing")
	return nil
}

func TestPinOfADeadProcessIsRemovedByTheNext(t *testing.T) {
	dir, f, _ := replica(t, 7, 8)
	other := holder(t, dir)
	if err := other.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = other.Wait()
	p, err := PinState(t.Context(), dir, "vm1", Latest, "the next")
	if err != nil {
		t.Fatal(err)
	}
	if pins, _ := filepath.Glob(f.Path("pins/8.*")); len(pins) != 1 {
		t.Errorf("there are %q", pins)
	}
	p.Release()
	if pins, _ := filepath.Glob(f.Path("pins/8.*")); len(pins) != 0 {
		t.Errorf("left over: %q", pins)
	}
}

func TestPinDiesWithItsProcess(t *testing.T) {
	dir, f, m := replica(t, 7, 8)
	other := holder(t, dir)
	held, err := f.Unlist(t.Context(), m, 7, 8)
	if err != nil || len(held[8]) != 1 || held[8][0].Pid != other.Process.Pid {
		t.Fatalf("while it lives: %v, %v", held, err)
	}
	if err := other.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = other.Wait()
	pins, _ := filepath.Glob(f.Path("pins/8.*"))
	if len(pins) != 1 {
		t.Fatalf("the killed process left %q, so this test shows nothing", pins)
	}
	if held, err := f.Unlist(t.Context(), m, 8); err != nil || len(held) != 0 {
		t.Errorf("when it is dead: %v, %v", held, err)
	}
	if got := listed(t, f); len(got) > 0 {
		t.Errorf("still listed: %d", got)
	}
	if pins, _ := filepath.Glob(f.Path("pins/8.*")); len(pins) > 0 {
		t.Errorf("left over: %q", pins)
	}
}

// TestNoPinOfAStateThatGoes has readers pin states while a run unlists them, and removes
// their images where nobody holds them: what is pinned must be listed, with its image
// there, until it is released.
func TestNoPinOfAStateThatGoes(t *testing.T) {
	const states = 12
	var generations []int64
	for g := range int64(states) {
		generations = append(generations, g+1)
	}
	dir, f, m := replica(t, generations...)
	var stop atomic.Bool
	var pins, missed atomic.Int64
	var readers sync.WaitGroup
	for r := range 5 {
		readers.Go(func() {
			rnd := rand.New(rand.NewPCG(1, uint64(r)))
			for !stop.Load() {
				g := 1 + rnd.Int64N(states)
				p, err := PinState(t.Context(), dir, "vm1", fmt.Sprintf("vmsync-3f2a9c1b-%d", g), "reader")
				if errors.Is(err, ErrNoState) {
					missed.Add(1)
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				pins.Add(1)
				for range 1 + rnd.IntN(3) {
					if now, err := f.Load(); err != nil {
						t.Error(err)
					} else if _, err := now.Find(p.State.Checkpoint); err != nil {
						t.Errorf("pinned but not listed: %v", err)
					}
					if _, err := os.Stat(p.Path(p.State.Disks[0].Image)); err != nil {
						t.Errorf("pinned but gone: %v", err)
					}
					time.Sleep(time.Duration(rnd.IntN(20)) * time.Millisecond)
				}
				p.Release()
			}
		})
	}
	rnd := rand.New(rand.NewPCG(2, 0))
	waited := 0
	for begin := time.Now(); len(m.States) > 1 && !t.Failed(); {
		if time.Since(begin) > patience {
			t.Errorf("%d states are left", len(m.States))
			break
		}
		time.Sleep(time.Duration(rnd.IntN(20)) * time.Millisecond) // whose turn it is is not fair
		going := m.States[rnd.IntN(len(m.States)-1)].Generation
		held, err := f.Unlist(t.Context(), m, going)
		if err != nil {
			t.Error(err)
			break
		}
		if held.Err() != nil {
			waited++
			continue
		}
		if err := f.Remove(ImageName("vda", going)); err != nil {
			t.Error(err)
		}
	}
	stop.Store(true)
	readers.Wait()
	if got := pinned(t, f); len(got) > 0 {
		t.Errorf("left over: %q", got)
	}
	t.Logf("%d pins taken, %d came too late, the run waited %d times", pins.Load(), missed.Load(), waited)
	if pins.Load() == 0 || waited == 0 {
		t.Error("nobody was in anybody's way: this test shows nothing")
	}
}
