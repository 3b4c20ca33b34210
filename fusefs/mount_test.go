package fusefs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vmsync/fusefs/filesystem"
	"vmsync/fusefs/image"
	"vmsync/internal/store"
	"vmsync/internal/storetest"
)

const diskSize = 1 << 20

// mounted is a store with three states, mounted.
type mountedStore struct {
	*storetest.Replica
	reads  *fakeReads
	mem    *memFS
	mount  *Mount
	root   string
	states []*store.State
	log    *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func needFuse(t testing.TB) {
	t.Helper()
	if _, err := os.Stat("/dev/fuse"); err != nil || os.Geteuid() != 0 {
		t.Skip("this test needs root and /dev/fuse")
	}
}

func mountStore(t *testing.T, change func(*Options, *fakeReads)) *mountedStore {
	t.Helper()
	needFuse(t)
	s := &mountedStore{Replica: storetest.New(t), mem: newMemFS(), log: &lockedBuffer{}}
	for _, b := range []byte{1, 2, 3} {
		s.add(t, b)
	}
	s.reads = &fakeReads{images: openImages{image.NewCache(1 << 20)}, open: func(*foundVolume) (filesystem.FS, error) { return s.mem, nil },
		volumes: []*foundVolume{{name: "vda1", image: "vda/1.mem", kind: "mem"}}}
	o := Options{Store: s.Store, Idle: time.Hour, Log: slog.New(slog.NewTextHandler(s.log, nil))}
	if change != nil {
		change(&o, s.reads)
	}
	s.root = filepath.Join(t.TempDir(), "mnt")
	if err := os.Mkdir(s.root, 0o755); err != nil {
		t.Fatal(err)
	}
	var err error
	if s.mount, err = mountWith(s.root, o, s.reads); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		select {
		case <-s.mount.Done():
			return
		default:
		}
		if err := s.mount.Close(ctx); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return s
}

// add adds a state whose disk begins with a block of one byte.
func (s *mountedStore) add(t testing.TB, b byte) *store.State {
	st := *s.Add(t, storetest.Changed("vda", diskSize, storetest.Wrote(0, 4096, b)))
	s.states = append(s.states, &st)
	return &st
}

func (s *mountedStore) dir(i int) string {
	s.mem.tell()
	return filepath.Join(s.root, "vm1", "states", s.states[i].ID)
}

// files is the folder of the guest's files in a state.
func (s *mountedStore) files(i int) string { return filepath.Join(s.dir(i), "files", "vda1") }

func names(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

func wantNames(t testing.TB, dir string, want ...string) {
	t.Helper()
	slices.Sort(want)
	if got := names(t, dir); !slices.Equal(got, want) {
		t.Errorf("%s holds %q, not %q", dir, got, want)
	}
}

func wantLink(t testing.TB, path, want string) {
	t.Helper()
	got, err := os.Readlink(path)
	if err != nil || got != want {
		t.Errorf("%s leads to %q, %v; want %q", path, got, err, want)
	}
}

func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for range 500 {
		if is() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("not within 5 s: %s", what)
}

func TestLayout(t *testing.T) {
	s := mountStore(t, nil)
	vm := filepath.Join(s.root, "vm1")
	wantNames(t, s.root, "vm1")
	wantNames(t, vm, "by-age", "by-checkpoint", "latest", "states")
	wantNames(t, filepath.Join(vm, "states"), s.states[0].ID, s.states[1].ID, s.states[2].ID)
	wantNames(t, filepath.Join(vm, "by-checkpoint"), s.states[0].Checkpoint, s.states[1].Checkpoint, s.states[2].Checkpoint)
	wantLink(t, filepath.Join(vm, "latest"), "states/"+s.states[2].ID)
	wantLink(t, filepath.Join(vm, "by-checkpoint", s.states[1].Checkpoint), "../states/"+s.states[1].ID)
	wantNames(t, s.dir(0), "state.json", "domain.xml", "disks", "files")
	if n := s.reads.opens.Load(); n != 0 {
		t.Errorf("%d disks were opened before anybody looked into one", n)
	}
	wantNames(t, filepath.Join(s.dir(0), "disks"), "vda.raw", "vda")
	wantNames(t, filepath.Join(s.dir(0), "disks", "vda"), "1.mem.raw")
	wantNames(t, filepath.Join(s.dir(0), "files"), "vda1")
	for i, state := range s.states {
		got, err := os.ReadFile(filepath.Join(s.dir(i), "disks", "vda.raw"))
		if err != nil || !bytes.Equal(got, s.Content[state.ID]["vda"]) {
			t.Errorf("state %s: %d bytes, %v; not the disk's", state.ID, len(got), err)
		}
	}
	if xml, err := os.ReadFile(filepath.Join(vm, "latest", "domain.xml")); err != nil || !bytes.Contains(xml, []byte("<name>vm1</name>")) {
		t.Errorf("domain.xml: %q, %v", xml, err)
	}
	for _, missing := range []string{"vm2", "vm1/nothing", "vm1/states/2026-01-01T000000Z", "vm1/latest/disks/vdb.raw", "vm1/latest/disks/vda/2.mem.raw", "vm1/latest/files/vda2", "manifest.json"} {
		if _, err := os.Lstat(filepath.Join(s.root, missing)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", missing, err)
		}
	}
}

func TestByAgeNamesTheNewestStateThatIsOldEnough(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	v := &view{Manifest: &store.Manifest{}}
	for _, hours := range []int{200, 30, 25, 2, 0} {
		v.States = append(v.States, store.State{ID: fmt.Sprint(hours), Time: now.Add(-time.Duration(hours) * time.Hour)})
	}
	for age, want := range map[string]string{"1h": "2", "1d": "25", "7d": "200", "28d": ""} {
		got := ""
		for _, a := range ages {
			if a.name == age {
				if s := v.aged(a.age, now); s != nil {
					got = s.ID
				}
			}
		}
		if got != want {
			t.Errorf("%s is %q, not %q", age, got, want)
		}
	}
}

func TestByAgeIsShown(t *testing.T) {
	s := mountStore(t, nil)
	s.Change(t, func(m *store.Manifest) {
		for i, hours := range []int{40, 3, 0} {
			m.States[i].Time = time.Now().Add(-time.Duration(hours) * time.Hour)
		}
	})
	dir := filepath.Join(s.root, "vm1", "by-age")
	wantNames(t, dir, "1d", "1h")
	wantLink(t, filepath.Join(dir, "1h"), "../states/"+s.states[1].ID)
	wantLink(t, filepath.Join(dir, "1d"), "../states/"+s.states[0].ID)
}

func TestStateJSON(t *testing.T) {
	s := mountStore(t, nil)
	text, err := os.ReadFile(filepath.Join(s.dir(1), "state.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"version": 1,`, `"domain": "vm1"`, `"state": "` + s.states[1].ID + `"`, `"checkpoint": "` + s.states[1].Checkpoint + `"`,
		`"head": false`, `"size_bytes": 1048576`, `"disk": "vda"`, `"content": "` + s.states[1].Disks[0].Content + `"`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	info, err := os.Stat(filepath.Join(s.dir(1), "state.json"))
	if err != nil || info.Size() != int64(len(text)) {
		t.Errorf("stat says %d bytes, %v; there are %d", info.Size(), err, len(text))
	}
}

func TestNothingCanBeChanged(t *testing.T) {
	s := mountStore(t, nil)
	s.mem.add(10, 2, "file", unix.S_IFREG|0o666, []byte("x"))
	for _, dir := range []string{s.root, filepath.Join(s.root, "vm1"), s.dir(0), filepath.Join(s.dir(0), "disks"), s.files(0)} {
		at := func(name string) string { return filepath.Join(dir, name) }
		for call, err := range map[string]error{
			"mkdir":   unix.Mkdir(at("new"), 0o755),
			"mknod":   unix.Mknod(at("new"), unix.S_IFIFO|0o644, 0),
			"symlink": unix.Symlink("x", at("new")),
			"rename":  unix.Rename(at("old"), at("new")),
			"chmod":   unix.Chmod(dir, 0o700),
			"chown":   unix.Chown(dir, 1, 1),
			"utimes":  unix.Utimes(dir, []unix.Timeval{{Sec: 1}, {Sec: 1}}),
			"xattr":   unix.Setxattr(dir, "user.x", []byte("y"), 0),
			"rmxattr": unix.Removexattr(dir, "user.x"),
			"create":  second(unix.Open(at("new"), unix.O_CREAT|unix.O_WRONLY, 0o644)),
			"tmpfile": second(unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR, 0o644)),
		} {
			if !errors.Is(err, unix.EROFS) {
				t.Errorf("%s in %s: %v", call, dir, err)
			}
		}
	}
	for _, file := range []string{filepath.Join(s.dir(0), "state.json"), filepath.Join(s.dir(0), "disks", "vda.raw"), filepath.Join(s.files(0), "file")} {
		for call, err := range map[string]error{
			"write":    second(unix.Open(file, unix.O_WRONLY, 0)),
			"append":   second(unix.Open(file, unix.O_RDWR|unix.O_APPEND, 0)),
			"truncate": unix.Truncate(file, 0),
			"unlink":   unix.Unlink(file),
			"link":     unix.Link(file, file+"2"),
		} {
			if !errors.Is(err, unix.EROFS) {
				t.Errorf("%s %s: %v", call, file, err)
			}
		}
	}
	var st unix.Statfs_t
	if err := unix.Statfs(s.root, &st); err != nil || st.Flags&unix.ST_RDONLY == 0 || st.Flags&unix.ST_NOSUID == 0 || st.Flags&unix.ST_NODEV == 0 {
		t.Errorf("mount flags %x, %v", st.Flags, err)
	}
}

func second(fd int, err error) error {
	if err == nil {
		unix.Close(fd)
	}
	return err
}
