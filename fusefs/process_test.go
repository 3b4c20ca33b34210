package fusefs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"vmsync/internal/store"
	"vmsync/internal/storetest"
)

// mountVariable has the test program mount a store and wait, in the place of running tests.
const mountVariable = "VMSYNC_TEST_MOUNT"

func TestMain(m *testing.M) {
	at := os.Getenv(mountVariable)
	if at == "" {
		os.Exit(m.Run())
	}
	mounted, err := New(at, Options{Store: os.Getenv("VMSYNC_TEST_STORE")})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("mounted")
	mounted.Wait()
}

func TestMountAfterAKill(t *testing.T) {
	needFuse(t)
	r := storetest.New(t)
	r.Add(t, storetest.Changed("vda", diskSize, storetest.Wrote(0, 4096, 1)))
	root := t.TempDir()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), mountVariable+"="+root, "VMSYNC_TEST_STORE="+r.Store)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	wantNames(t, filepath.Join(root, "vm1", "latest", "disks"), "vda.raw")
	if held, err := r.Folder.Pinned(t.Context()); err != nil || len(held) != 1 {
		t.Errorf("pinned: %v, %v", held, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	if !dead(root) {
		t.Fatal("the mount point is not dead")
	}
	if held, err := r.Folder.Pinned(t.Context()); err != nil || len(held) != 0 {
		t.Errorf("still pinned: %v, %v", held, err)
	}
	m, err := New(root, Options{Store: r.Store})
	if err != nil {
		t.Fatal(err)
	}
	wantNames(t, root, "vm1")
	if err := m.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantNames(t, root)
}

// TestRootUnmountsWhatAnotherUserMounted has root not even see the mount point.
func TestRootUnmountsWhatAnotherUserMounted(t *testing.T) {
	needFuse(t)
	if _, err := exec.LookPath("fusermount3"); err != nil {
		t.Skip("this test needs fusermount3")
	}
	const nobody = 65534
	dir := t.TempDir()
	root, folder := filepath.Join(dir, "mnt"), filepath.Join(dir, "store")
	for _, path := range []string{root, folder} {
		if err := os.Mkdir(path, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(path, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	for ; strings.HasPrefix(dir, os.TempDir()+"/"); dir = filepath.Dir(dir) { // the test's user's alone
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), mountVariable+"="+root, "VMSYNC_TEST_STORE="+folder)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if t.Failed() {
			_ = detach(root)
		}
		_ = cmd.Wait()
	}()
	if _, err := out.Read(make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(root); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("looking at the mount point: %v", err)
	}
	if err := Unmount(root, false); err != nil {
		t.Fatal(err)
	}
	wantNames(t, root)
}

func TestUnmountOfADeadMount(t *testing.T) {
	needFuse(t)
	root := t.TempDir()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), mountVariable+"="+root, "VMSYNC_TEST_STORE="+filepath.Join(root, "..", "none"))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	cmd.Process.Kill()
	cmd.Wait()
	if err := Unmount(root, false); err != nil {
		t.Fatal(err)
	}
	wantNames(t, root)
}

func TestClosedWhileInUse(t *testing.T) {
	s := mountStore(t, nil)
	f, err := os.Open(filepath.Join(s.dir(0), "disks", "vda.raw"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := s.mount.Close(ctx); err == nil || !strings.Contains(err.Error(), "still open") {
		t.Errorf("closing what is in use: %v", err)
	}
	wantNames(t, s.root)
	if !strings.Contains(s.log.String(), "still in use") {
		t.Errorf("nobody was told: %s", s.log)
	}
	if _, err := f.ReadAt(make([]byte, 512), diskSize/2); err != nil {
		t.Errorf("reading on: %v", err)
	}
}

// manyStates writes the manifests of 50 replicas with 100 states each.
func manyStates(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	m := store.Manifest{Version: store.Version, Pair: "0123abcd", Role: store.RoleReplica, LastGeneration: 100}
	for g := int64(1); g <= 100; g++ {
		at := time.Date(2026, 11, 21, 7, 0, int(g), 0, time.UTC)
		img := store.Image{Name: store.ImageName("vda", g), Disk: "vda", Size: 10 << 30}
		if g > 1 {
			img.Backing = store.ImageName("vda", g-1)
		}
		m.Images = append(m.Images, img)
		m.States = append(m.States, store.State{ID: m.StateID(at, g), Generation: g, Checkpoint: fmt.Sprintf("vmsync-0123abcd-%d", g), Time: at,
			Kind: "incremental", Consistency: "filesystem", DomainXML: store.XMLName(g),
			Disks: []store.Disk{{Name: "vda", Size: 10 << 30, Image: img.Name, Content: strings.Repeat("a", 32), Stream: store.Stream{Incremental: true, Digest: strings.Repeat("b", 32)}}}})
	}
	for i := range 50 {
		m.TargetDomain = fmt.Sprintf("vm%d", i)
		text, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(filepath.Join(dir, m.TargetDomain), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, m.TargetDomain, store.ManifestName), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestManyStatesAreMountedAtOnce(t *testing.T) {
	needFuse(t)
	dir, root := manyStates(t), t.TempDir()
	begin := time.Now()
	m, err := New(root, Options{Store: dir})
	if err != nil {
		t.Fatal(err)
	}
	took := time.Since(begin)
	defer m.Close(t.Context())
	begin = time.Now()
	states := 0
	for i := range 50 {
		states += len(names(t, filepath.Join(root, fmt.Sprintf("vm%d", i), "states")))
	}
	if states != 5000 {
		t.Errorf("%d states", states)
	}
	listed := time.Since(begin)
	runtime.GC()
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	t.Logf("mounted in %v, all states listed in %v, heap %d KiB, of the system %d KiB", took, listed, mem.HeapAlloc>>10, mem.Sys>>10)
	if mem.HeapAlloc > 64<<20 {
		t.Errorf("%d MiB in use", mem.HeapAlloc>>20)
	}
}
