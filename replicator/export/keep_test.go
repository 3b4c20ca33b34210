package export

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"vmsync/internal/event"
	"vmsync/internal/qemu"
	. "vmsync/internal/storetest"
	"vmsync/nbdproxy/nbdtest"
	"vmsync/replicator"
)

func TestWhatIsKeptStandsForItself(t *testing.T) {
	r := replica(t)
	head := r.Manifest(t).Head().ID
	want := bytes.Clone(r.Content[head]["vda"])
	copy(want[5*mib:], bytes.Repeat([]byte{66}, mib))
	for name, c := range map[string]struct {
		disks []string
		keep  string // below a folder of its own
		files map[string]string
	}{
		"one disk as a file":           {[]string{"vda"}, "edited", map[string]string{"vda": "edited"}},
		"one disk, by its ending":      {[]string{"vda"}, "a b,c.qcow2", map[string]string{"vda": "a b,c.qcow2"}},
		"one disk in a folder":         {[]string{"vda"}, "new/folder/", map[string]string{"vda": "new/folder/vda.qcow2"}},
		"all disks in a folder":        {nil, "new/", map[string]string{"vda": "new/vda.qcow2", "vdb": "new/vdb.qcow2"}},
		"all disks in one that exists": {nil, "", map[string]string{"vda": "vda.qcow2", "vdb": "vdb.qcow2"}},
	} {
		dir := t.TempDir()
		x := begin(t, r, Request{Disks: c.disks, Writable: true, Keep: dir + "/" + c.keep}).exported()
		x.write("vda", "write -P 66 5M 1M")
		if err := x.stop(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		kept := Of[event.Kept](x.sink)
		if len(kept) != 1 || len(kept[0].Disks) != len(c.files) {
			t.Fatalf("%s: kept %+v", name, kept)
		}
		for _, d := range kept[0].Disks {
			path := filepath.Join(dir, c.files[d.Disk])
			if d.Path != path {
				t.Errorf("%s: %s is at %s", name, d.Disk, d.Path)
			}
			content := want
			if d.Disk == "vdb" {
				content = r.Content[head]["vdb"]
			}
			if !bytes.Equal(Raw(t, path, "qcow2"), content) {
				t.Errorf("%s: %s is not what it read as", name, path)
			}
			info, err := qemu.Inspect(t.Context(), path)
			if err != nil || info.Backing != "" {
				t.Errorf("%s: %+v, error %v", name, info, err)
			}
			if left, _ := filepath.Glob(filepath.Dir(path) + "/.vmsync*"); len(left) > 0 {
				t.Errorf("%s: left %q", name, left)
			}
		}
	}
	untouched(t, r)
}

// small is a file system with room for little.
func small(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=3m"); err != nil {
		t.Skipf("cannot mount a tmpfs: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

// warned waits for a warning.
func (x *running) warned(words string) {
	x.t.Helper()
	for {
		for _, w := range Of[event.Warning](x.sink) {
			if strings.Contains(w.Message, words) {
				return
			}
		}
		select {
		case <-x.ended:
			x.t.Fatalf("it ended: %v", x.err)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func TestAFullFileSystemIsWaitedForUntilSomebodyGivesUp(t *testing.T) {
	r := replica(t)
	for _, room := range []bool{true, false} {
		dir := small(t)
		keeping, giveUp := context.WithCancel(t.Context())
		x := begin(t, r, Request{Disks: []string{"vda"}, Writable: true, Keep: dir + "/kept.qcow2",
			Keeping: func() (context.Context, context.CancelFunc) { return keeping, giveUp }}).exported()
		x.write("vda", "write -P 66 5M 1M")
		x.end()
		x.warned("is full")
		if room {
			if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT, "size=64m"); err != nil {
				t.Fatal(err)
			}
		} else {
			giveUp()
		}
		nbdtest.Await(t, "the end", x.ended)
		kept, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		switch e := replicator.AsError(x.err); {
		case room && (e != nil || len(kept) != 1 || kept[0].Name() != "kept.qcow2"):
			t.Errorf("with room %v, kept %v", e, kept)
		case !room && (e == nil || e.Kind != replicator.KindNoSpace || e.Disk != "vda" || len(kept) != 0):
			t.Errorf("without room %+v, kept %v", e, kept)
		}
	}
}

// What appears under the name meanwhile is not overwritten, and what was written is not
// lost.
func TestWhatAppearsMeanwhileIsKept(t *testing.T) {
	r := replica(t)
	dir := t.TempDir()
	path := dir + "/vda.qcow2"
	x := begin(t, r, Request{Writable: true, Keep: dir}).exported()
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := x.stop()
	if b, _ := os.ReadFile(path); err == nil || string(b) != "mine" {
		t.Errorf("error %v; there is %q", err, b)
	}
	temps, _ := filepath.Glob(dir + "/.vmsync-export-*")
	if len(temps) != 1 || !strings.Contains(err.Error(), temps[0]) {
		t.Fatalf("%q: %v", temps, err)
	}
	for disk, path := range map[string]string{"vda": temps[0], "vdb": dir + "/vdb.qcow2"} {
		if !bytes.Equal(Raw(t, path, "qcow2"), r.Content[r.Manifest(t).Head().ID][disk]) {
			t.Errorf("what %s read as is not in %s", disk, path)
		}
	}
}

// A client may zero a part of a cluster while it writes to the rest of it, as nbdcopy does.
func TestParallelZeroesAndWritesToOneClusterAreBothKept(t *testing.T) {
	r := replica(t)
	path := t.TempDir() + "/kept.qcow2"
	x := begin(t, r, Request{Disks: []string{"vda"}, Writable: true, Keep: path}).exported()
	x.write("vda", "write -P 3 0 8M", "write -z 0 8M", "flush")
	want := bytes.Repeat([]byte{9}, 8*mib+512)
	for at := 0; at < 8*mib; at += Block {
		clear(want[at : at+4096])
	}
	raw := t.TempDir() + "/raw"
	if err := os.WriteFile(raw, want, 0o600); err != nil {
		t.Fatal(err)
	}
	nbdtest.Run(t, "nbdcopy", "--flush", raw, x.uris["vda"])
	if !bytes.Equal(x.reads("vda"), want) {
		t.Error("the export does not read as what was written")
	}
	if err := x.stop(); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(Raw(t, path, "qcow2"), want) {
		t.Error("what was kept is not what was written")
	}
}
