package e2e

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"vmsync/tests/lab"
)

// smallStore makes a store of so many bytes, for the test's machine alone.
func smallStore(t *testing.T, m *lab.Machine, dir string, size int64) {
	t.Helper()
	if err := hostb.SmallFS(t.Context(), dir, size); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := cleanupContext()
		defer cancel()
		if err := hostb.Machine(m.Name()).Remove(ctx); err != nil {
			t.Error(err)
		}
		if _, err := hostb.Run(ctx, "umount", dir); err != nil {
			t.Error(err)
		}
	})
}

func TestTargetDiskFullLeavesEverythingAsItWas(t *testing.T) {
	// The store has room for 100 MiB.
	t.Run("early", func(t *testing.T) { targetDiskFull(t, 120*mib) })
	// The source has sent all and is done when the target finds that the last does not fit.
	t.Run("late", func(t *testing.T) { targetDiskFull(t, 70*mib) })
}

// targetDiskFull syncs 32 MiB, then so many more bytes that do not fit beside them.
func targetDiskFull(t *testing.T, more int64) {
	const small = "/var/lib/vmsync-small"
	m := machine(t, qcow2("vda", 256*mib), qcow2("vdb", 64*mib))
	smallStore(t, m, small, 100*mib)
	randomData(t, m, "vda", 0, 32*mib)
	sync(t, m.Name(), "--store", small)
	images := listDir(t, hostb, small+"/"+m.Name()+"/disks")
	before, err := hostb.ReadFile(small + "/" + m.Name() + "/disks/vda.1.qcow2")
	if err != nil {
		t.Fatal(err)
	}
	was := checkpoints(t, m)

	randomData(t, m, "vda", 64*mib, more)
	failed(t, trySync(t, m.Name(), "--store", small), 1, "no-space", m.Name(), "vda")
	if got := listDir(t, hostb, small+"/"+m.Name()+"/disks"); strings.Join(got, " ") != strings.Join(images, " ") {
		t.Errorf("images %v, were %v", got, images)
	}
	after, err := hostb.ReadFile(small + "/" + m.Name() + "/disks/vda.1.qcow2")
	if err != nil || string(after) != string(before) {
		t.Errorf("the replica's image changed: %v", err)
	}
	if got := checkpoints(t, m); strings.Join(got, " ") != strings.Join(was, " ") {
		t.Errorf("checkpoints %v, were %v", got, was)
	}

	if _, err := hostb.Run(t.Context(), "mount", "-o", "remount,size=600M", small); err != nil {
		t.Fatal(err)
	}
	if s := sync(t, m.Name(), "--store", small); s.Kind != "incremental" {
		t.Errorf("%+v", s)
	}
	src, err := m.DiskPath(t.Context(), "vda")
	if err != nil {
		t.Fatal(err)
	}
	held := listFiles(t, hostb, small+"/"+m.Name()+"/disks")
	if len(held) != 2 {
		t.Fatalf("images %v", held)
	}
	identical(t, "qcow2", hosta.Path(src), held[0])
}

// What is full of states can be freed of them, and syncs go on.
func TestFullStoreCanBePruned(t *testing.T) {
	const small, size = "/var/lib/vmsync-states", 160 * mib
	m := machine(t, qcow2("vda", 256*mib))
	smallStore(t, m, small, size)
	free := func() int64 {
		t.Helper()
		var fs unix.Statfs_t
		if err := unix.Statfs(hostb.Path(small), &fs); err != nil {
			t.Fatal(err)
		}
		return int64(fs.Bavail) * fs.Frsize
	}
	var last outcome
	n := int64(0)
	for ; n < 60; n++ {
		randomData(t, m, "vda", n%8*4*mib, 4*mib)
		if last = trySync(t, m.Name(), "--store", small, "--keep", "100"); last.code != 0 {
			break
		}
	}
	e := failed(t, last, 1, "no-space", m.Name(), "")
	if !strings.Contains(e.Message, "8.0 MiB") || !strings.Contains(e.Hint, "vmsync prune "+m.Name()) {
		t.Errorf("%+v", e)
	}
	if left := free(); left < size/20 || n < 25 {
		t.Errorf("%d bytes are free after %d states", left, n)
	}
	// Also when the sync is tried again.
	failed(t, trySync(t, m.Name(), "--store", small), 1, "no-space", m.Name(), "")

	// Where even less is free a sync does not begin.
	if err := hostb.Fill(small, 5*mib); err != nil {
		t.Fatal(err)
	}
	was := checkpoints(t, m)
	e = failed(t, trySync(t, m.Name(), "--store", small), 1, "no-space", m.Name(), "")
	if got := checkpoints(t, m); !strings.Contains(e.Message, "5.0 MiB are free") || !slices.Equal(got, was) {
		t.Errorf("%+v; checkpoints %v, were %v", e, got, was)
	}
	admin(t, hostb, "doctor", m.Name(), "--store", small, "--source-uri", uriA).exits(t, 1, "vmsync leaves 8.0 MiB")

	before := free()
	on(t, hostb, "vmsync", "prune", m.Name(), "--store", small, "--keep", "5")
	if left := free(); left <= before {
		t.Errorf("%d bytes were free, and %d are after pruning", before, left)
	}
	if s := sync(t, m.Name(), "--store", small, "--keep", "2"); s.Kind != "incremental" {
		t.Errorf("%+v", s)
	}
	src, err := m.DiskPath(t.Context(), "vda")
	if err != nil {
		t.Fatal(err)
	}
	held := manifestIn(t, small, m.Name())
	identical(t, "qcow2", hosta.Path(src), hostb.Path(small+"/"+m.Name()+"/"+held.Head().Disks[0].Image))
	if len(held.States) != 2 {
		t.Errorf("%d states are left", len(held.States))
	}
}
