package fusefs

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vmsync/fusefs/filesystem"
	"vmsync/internal/store"
)

func (s *mountedStore) held(t testing.TB) store.Held {
	t.Helper()
	held, err := s.Folder.Pinned(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return held
}

// prune takes the state away unless it is pinned, and says whether it did.
func (s *mountedStore) prune(t testing.TB, i int) bool {
	t.Helper()
	m := s.Manifest(t)
	kept, err := s.Folder.Unlist(t.Context(), m, s.states[i].Generation)
	if err != nil {
		t.Fatal(err)
	}
	return len(kept) == 0
}

func TestStatesComeAndGoWhileMounted(t *testing.T) {
	s := mountStore(t, nil)
	states := filepath.Join(s.root, "vm1", "states")
	wantNames(t, states, s.states[0].ID, s.states[1].ID, s.states[2].ID)
	added := s.add(t, 9)
	wantNames(t, states, s.states[0].ID, s.states[1].ID, s.states[2].ID, added.ID)
	eventually(t, "latest leads to the new state", func() bool {
		to, _ := os.Readlink(filepath.Join(s.root, "vm1", "latest"))
		return to == "states/"+added.ID
	})
	got, err := os.ReadFile(filepath.Join(s.root, "vm1", "latest", "disks", "vda.raw"))
	if err != nil || !bytes.Equal(got, s.Content[added.ID]["vda"]) {
		t.Errorf("the new state's disk: %d bytes, %v", len(got), err)
	}
	if !s.prune(t, 0) {
		t.Fatal("the state is pinned, and nobody has looked into it")
	}
	wantNames(t, states, s.states[1].ID, s.states[2].ID, added.ID)
	eventually(t, "the pruned state is gone", func() bool {
		_, err := os.Stat(filepath.Join(s.dir(0), "state.json"))
		return errors.Is(err, fs.ErrNotExist)
	})
}

func TestOpenFileKeepsItsBytesAndItsState(t *testing.T) {
	s := mountStore(t, func(o *Options, _ *fakeReads) { o.Idle = 50 * time.Millisecond })
	s.mem.add(10, 2, "file", unix.S_IFREG|0o644, []byte("of the guest"))
	for _, path := range []string{"disks/vda.raw", "files/vda1/file", "files/vda1"} {
		f, err := os.Open(filepath.Join(s.dir(0), path))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(200 * time.Millisecond) // more than it may be idle
		if s.prune(t, 0) {
			t.Fatalf("%s is open, and its state could be taken away", path)
		}
		if path == "disks/vda.raw" {
			got, err := io.ReadAll(f)
			if err != nil || !bytes.Equal(got, s.Content[s.states[0].ID]["vda"]) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		}
		f.Close()
		eventually(t, "the pin is gone after "+path, func() bool { return len(s.held(t)) == 0 })
	}
	if opens, closes := s.reads.opens.Load(), s.reads.closes.Load(); opens != 3 || closes != 3 {
		t.Errorf("%d disks opened, %d closed", opens, closes)
	}
	if !s.prune(t, 0) {
		t.Error("still pinned")
	}
}

func TestOpenFilesOfAPrunedStateReadOn(t *testing.T) {
	s := mountStore(t, nil)
	f, err := os.Open(filepath.Join(s.dir(0), "domain.xml"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if !s.prune(t, 0) {
		t.Fatal("pinned")
	}
	if err := os.Remove(s.Path(s.states[0].DomainXML)); err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(f); err != nil || !bytes.Contains(text, []byte("<name>vm1</name>")) {
		t.Errorf("%q, %v", text, err)
	}
}

func TestWhatTheKernelRemembersIsRightAfterAPause(t *testing.T) {
	s := mountStore(t, func(o *Options, _ *fakeReads) { o.Idle = 50 * time.Millisecond })
	s.mem.add(10, 2, "file", unix.S_IFREG|0o644, []byte("of the guest"))
	path := filepath.Join(s.files(0), "file")
	before := lstat(t, path).Ino
	eventually(t, "the pin is gone", func() bool { return len(s.held(t)) == 0 })
	if got, err := os.ReadFile(path); err != nil || string(got) != "of the guest" {
		t.Errorf("%q, %v", got, err)
	}
	if after := lstat(t, path).Ino; after != before {
		t.Errorf("inode %d was %d", after, before)
	}
	if len(s.held(t)) == 0 {
		t.Error("read without a pin")
	}
}

func TestManyOpenStatesAreBounded(t *testing.T) {
	s := mountStore(t, nil)
	s.mount.tree.sessions.mu.Lock()
	s.mount.tree.sessions.max = 2
	s.mount.tree.sessions.mu.Unlock()
	for i := range s.states {
		wantNames(t, filepath.Join(s.dir(i), "disks"), "vda.raw", "vda")
	}
	if n := len(s.mount.tree.sessions.opened()); n > 2 {
		t.Errorf("%d states are open", n)
	}
	if len(s.held(t)) > 2 {
		t.Errorf("pinned: %v", s.held(t))
	}
}

// TestReplicaThatWasMadeAnew gives a generation's number to another state, as a replica does that
// was deleted and made again.
func TestReplicaThatWasMadeAnew(t *testing.T) {
	s := mountStore(t, func(o *Options, _ *fakeReads) { o.Idle = 20 * time.Millisecond })
	s.mem.add(10, 2, "file", unix.S_IFREG|0o644, []byte("of the guest"))
	look := func(state string) {
		t.Helper()
		got, err := os.ReadFile(filepath.Join(s.root, "vm1", "states", state, "files", "vda1", "file"))
		if err != nil || string(got) != "of the guest" {
			t.Errorf("%q, %v", got, err)
		}
	}
	was := s.states[0].ID
	folder, err := unix.Open(filepath.Join(s.files(0), "file"), unix.O_PATH, 0) // somebody is still in it
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(folder)
	look(was)
	eventually(t, "the pin is gone", func() bool { return len(s.held(t)) == 0 })
	anew := s.states[0].Time.Add(-time.Hour).Format("2006-01-02T150405Z")
	s.Change(t, func(m *store.Manifest) {
		m.States[0].ID, m.States[0].Time = anew, m.States[0].Time.Add(-time.Hour)
		m.States[1].Parent = ""
	})
	look(anew)
}

// TestStateThatOpensSlowlyHoldsUpNoOther has a state take as long as keys that do not fit can.
func TestStateThatOpensSlowlyHoldsUpNoOther(t *testing.T) {
	begun, end := make(chan struct{}), make(chan struct{})
	s := mountStore(t, func(_ *Options, r *fakeReads) {
		r.find = func(disks []openDisk) {
			first := make([]byte, 1)
			if _, err := disks[0].device.ReadAt(first, 0); err == nil && first[0] == 1 {
				close(begun)
				<-end
			}
		}
	})
	slow := make(chan error, 1)
	go func() { _, err := os.ReadDir(filepath.Join(s.dir(0), "disks")); slow <- err }()
	<-begun
	other := make(chan error, 1)
	go func() {
		got, err := os.ReadFile(filepath.Join(s.dir(1), "disks", "vda.raw"))
		if err == nil && !bytes.Equal(got, s.Content[s.states[1].ID]["vda"]) {
			err = errors.New("other bytes")
		}
		other <- err
	}()
	select {
	case err := <-other:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Error("it waits for the other state")
	}
	close(end)
	if err := <-slow; err != nil {
		t.Error(err)
	}
}

func TestDamagedStateShowsWhy(t *testing.T) {
	s := mountStore(t, nil)
	s.Change(t, func(m *store.Manifest) { m.States[1].Damaged = "xml/2.xml is not as received" })
	for _, dir := range []string{"disks", "files"} {
		wantNames(t, filepath.Join(s.dir(1), dir), "README")
		text, err := os.ReadFile(filepath.Join(s.dir(1), dir, "README"))
		if err != nil || !strings.Contains(string(text), "xml/2.xml is not as received") || !strings.Contains(string(text), "vmsync states delete vm1@"+s.states[1].ID) {
			t.Errorf("%s, %v", text, err)
		}
	}
	if _, err := os.Open(filepath.Join(s.dir(1), "disks", "vda.raw")); !errors.Is(err, unix.EIO) {
		t.Errorf("a damaged disk: %v", err)
	}
	if text, err := os.ReadFile(filepath.Join(s.dir(1), "state.json")); err != nil || !strings.Contains(string(text), `"damaged": "xml/2.xml is not as received"`) {
		t.Errorf("%s, %v", text, err)
	}
	wantNames(t, filepath.Join(s.dir(2), "disks"), "vda.raw", "vda")
}

func TestVolumesThatCannotBeShownSayWhy(t *testing.T) {
	wrapped := func(err error) error { return &fs.PathError{Op: "read", Path: "superblock", Err: err} }
	s := mountStore(t, func(_ *Options, r *fakeReads) {
		r.volumes = []*foundVolume{
			{name: "vda1", image: "vda/1.ext4", kind: "ext4", err: wrapped(filesystem.ErrNeedsReplay)},
			{name: "vda2", image: "vda/2.swap", kind: "swap", err: wrapped(filesystem.ErrUnknown)},
			{name: "vda3", image: "vda/3.luks", kind: "luks", err: wrapped(errEncrypted)},
			{name: "vda4", image: "vda/4.unknown", kind: "unknown", err: wrapped(filesystem.ErrUnknown)},
			{name: "vda5", image: "vda/5.xfs", kind: "xfs", err: wrapped(filesystem.ErrCorrupt)},
			{name: "vda6", image: "vda/6.xfs", kind: "xfs", err: wrapped(filesystem.ErrUnsupported)},
		}
	})
	address := "vm1@" + s.states[0].ID
	for name, want := range map[string][]string{
		"vda1": {"journal cannot be replayed", "vmsync export " + address + " --writable", "vmsync restore " + address},
		"vda2": {"swap space"}, "vda3": {"encrypted", "--key-file"}, "vda4": {"no filesystem that vmsync knows"},
		"vda5": {"damaged", "superblock"}, "vda6": {"something that vmsync cannot read"},
	} {
		dir := filepath.Join(s.dir(0), "files", name)
		wantNames(t, dir, "README")
		text, err := os.ReadFile(filepath.Join(dir, "README"))
		if err != nil {
			t.Error(err)
		}
		for _, w := range want {
			if !strings.Contains(string(text), w) {
				t.Errorf("%s: no %q in\n%s", name, w, text)
			}
		}
		if !strings.Contains(string(text), "The files of "+name+" in state "+s.states[0].ID) {
			t.Errorf("%s: %s", name, text)
		}
	}
}

// resources are what must not grow.
type resources struct{ files, nodes, handles, sessions, spans int }

func (s *mountedStore) resources(t testing.TB) resources {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	sessions, spans := s.mount.tree.sessions.count()
	return resources{len(fds), s.mount.tree.nodes.count(), s.mount.tree.handles.count(), sessions, spans}
}

func TestNothingIsLeftOfStatesThatHaveGone(t *testing.T) {
	s := mountStore(t, func(o *Options, _ *fakeReads) { o.Idle = 20 * time.Millisecond })
	s.mem.add(10, 2, "file", unix.S_IFREG|0o644, []byte("of the guest"))
	look := func(i int) {
		if _, err := os.ReadFile(filepath.Join(s.files(i), "file")); err != nil {
			t.Fatal(err)
		}
		if _, err := os.ReadFile(filepath.Join(s.dir(i), "disks", "vda.raw")); err != nil {
			t.Fatal(err)
		}
	}
	closed := func() bool { return len(s.mount.tree.sessions.opened()) == 0 }
	look(2)
	eventually(t, "the disks are closed", closed)
	before := s.resources(t)
	for i := 3; i < 11; i++ {
		s.add(t, byte(i))
		look(i)
		eventually(t, "the older state can be pruned", func() bool { return s.prune(t, i-1) })
	}
	eventually(t, "nothing is left of what was pruned", func() bool {
		after := s.resources(t)
		return after.nodes <= before.nodes+2 && after.handles <= before.handles && after.sessions <= before.sessions+1 && after.spans <= before.spans+1
	})
	eventually(t, "the disks are closed", closed)
	if after := s.resources(t); after.files > before.files {
		t.Errorf("%d files are open, before there were %d", after.files, before.files)
	}
	if !slices.Contains(names(t, filepath.Join(s.root, "vm1", "states")), s.states[10].ID) {
		t.Error("the last state is gone")
	}
}
