package e2e

import (
	"strings"
	"testing"

	"vmsync/tests/lab"
)

// TestReplicaStartedDuringASync starts the replica in the middle of a run: it
// runs on the state it was started from, which must not change under it, and what
// it writes must not be lost.
func TestReplicaStartedDuringASync(t *testing.T) {
	const held = "/run/vmsync-hold-commit"
	m := machine(t, qcow2("vda", 64*mib))
	dirty(t, m, "vda", 0, 4*mib, 1)
	sync(t, m.Name())
	old := copyOf(t, m, "vda")
	dirty(t, m, "vda", 2*mib, 4*mib, 2)

	withFault(t, hostb, "target-before-commit=wait:"+held)
	r := start(t, hostb, fromTarget(m.Name())...)
	eventually(t, "the sync is held", func() bool { return exists(t, hostb, held+".hit") })
	replica := hostb.Machine(m.Name())
	if err := replica.StartPaused(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := hostb.WriteFile(held, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	failed(t, r.wait(), 1, "replica-active", m.Name(), "")
	running, err := replica.DiskPath(t.Context(), "vda")
	if err != nil {
		t.Fatal(err)
	}
	identical(t, "raw", old, hostb.Path(running))
	dirty(t, replica, "vda", 10*mib, mib, 9)
	withoutFault(t, hostb)
	if _, err := hostb.Run(t.Context(), "rm", "-f", held, held+".hit"); err != nil {
		t.Fatal(err)
	}

	failed(t, trySync(t, m.Name()), 1, "replica-active", m.Name(), "")
	if err := replica.Destroy(t.Context()); err != nil {
		t.Fatal(err)
	}
	e := failed(t, trySync(t, m.Name()), 1, "replica-used", m.Name(), "vda")
	if !exists(t, hostb, running) {
		t.Fatalf("what the replica wrote is gone: %s", running)
	}
	_, wayOut, _ := strings.Cut(e.Hint, "sync again: ")
	if _, err := hostb.Run(t.Context(), "sh", "-c", wayOut); err != nil {
		t.Fatalf("%q: %v", wayOut, err)
	}
	sync(t, m.Name())
	sameAsSource(t, m, "vda")
	onlyPlainImages(t, m.Name())
	nothingLeft(t, m)
}

func TestBareStartOfTheReplicaChangesNoState(t *testing.T) {
	m := machine(t, qcow2("vda", 64*mib))
	dirty(t, m, "vda", 0, 4*mib, 1)
	sync(t, m.Name())
	replica := hostb.Machine(m.Name())
	if err := replica.StartPaused(t.Context()); err != nil {
		t.Fatal(err)
	}
	dirty(t, replica, "vda", 0, 8*mib, 0xee)
	if err := replica.Destroy(t.Context()); err != nil {
		t.Fatal(err)
	}
	sameAsSource(t, m, "vda")
}

func TestPathsWithSpacesAndQuotes(t *testing.T) {
	const dir = "/var/lib/it's a store"
	m := machine(t, lab.DiskSpec{Target: "vda", Size: 64 * mib, Path: lab.ImageDir + "/a disk & more.qcow2"})
	t.Cleanup(func() {
		ctx, cancel := cleanupContext()
		defer cancel()
		if err := hostb.Machine(m.Name()).Remove(ctx); err != nil {
			t.Error(err)
		}
		if _, err := hostb.Run(ctx, "rm", "-rf", dir); err != nil {
			t.Error(err)
		}
	})
	for i := range 2 {
		dirty(t, m, "vda", int64(i)*mib, mib, i+1)
		sync(t, m.Name(), "--store", dir)
	}
	src, err := m.DiskPath(t.Context(), "vda")
	if err != nil {
		t.Fatal(err)
	}
	identical(t, "qcow2", hosta.Path(src), onlyImage(t, hostb, dir+"/"+m.Name()))
	if err := hostb.Machine(m.Name()).StartPaused(t.Context()); err != nil {
		t.Errorf("the replica does not start: %v", err)
	}
}

func TestScratchSpaceRunningOutEndsTheRunAndNotTheMachine(t *testing.T) {
	const small = lab.ImageDir + "/small"
	if err := hosta.SmallFS(t.Context(), small, 300*mib); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := cleanupContext()
		defer cancel()
		if _, err := hosta.Run(ctx, "umount", small); err != nil {
			t.Error(err)
		}
	})
	m := machine(t, lab.DiskSpec{Target: "vda", Size: 256 * mib, Path: small + "/vda.qcow2"})
	randomData(t, m, "vda", 0, 24*mib)
	dirty(t, m, "vda", 64*mib, 128*mib, 5)
	r := midCopy(t, m)
	// What the machine overwrites now is kept in the scratch file, on the small file
	// system, until too little is left there.
	dirty(t, m, "vda", 64*mib, 128*mib, 6)
	e := failed(t, r.wait(), 1, "scratch-full", m.Name(), "vda")
	if !strings.Contains(e.Message, small) || !strings.Contains(e.Message, "at least") {
		t.Errorf("%+v", e)
	}
	nothingLeft(t, m)
	setLink(t, hosta, lab.Link{})
	sync(t, m.Name())
	sameAsSource(t, m, "vda")
	nothingLeft(t, m)
}

func TestReplicaOnTheSourceItself(t *testing.T) {
	m := machine(t, qcow2("vda", 64*mib))
	replica := hosta.Machine(m.Name() + "-replica")
	t.Cleanup(func() {
		ctx, cancel := cleanupContext()
		defer cancel()
		if err := replica.Remove(ctx); err != nil {
			t.Error(err)
		}
		if _, err := hosta.Run(ctx, "rm", "-rf", storeDir); err != nil {
			t.Error(err)
		}
	})
	failed(t, start(t, hosta, "sync", m.Name(), "--json").wait(), 1, "other-machine", m.Name(), "")
	for i := range 2 {
		dirty(t, m, "vda", int64(i)*mib, mib, i+1)
		succeeded(t, start(t, hosta, "sync", m.Name(), "--target-domain", replica.Name(), "--json").wait())
	}
	src, err := m.DiskPath(t.Context(), "vda")
	if err != nil {
		t.Fatal(err)
	}
	identical(t, "qcow2", hosta.Path(src), onlyImage(t, hosta, storeDir+"/"+replica.Name()))
	if a, b := uuidOf(t, m), uuidOf(t, replica); a == b {
		t.Errorf("both domains have UUID %s", a)
	}
	if err := replica.StartPaused(t.Context()); err != nil {
		t.Errorf("the replica does not start beside its source: %v", err)
	}
}
