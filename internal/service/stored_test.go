package service

import (
	"os"
	"testing"
	"time"

	"vmsync/internal/api"
	"vmsync/internal/store"
	"vmsync/internal/storetest"
)

func TestWhatTheStoreSaysIsRememberedUntilItChanges(t *testing.T) {
	const mib = 1 << 20
	r := storetest.New(t)
	r.Add(t, storetest.Changed("vda", 8*mib, storetest.Wrote(0, 2*mib, 1)))
	s, now := &shelf{}, time.Now()
	look := func() (states int, size int64) {
		t.Helper()
		m := &api.Machine{Store: r.Store, TargetDomain: r.Domain}
		s.add(m, now)
		if m.States == nil || m.Size == nil || m.Role != string(store.RoleReplica) {
			t.Fatalf("%+v", m)
		}
		return *m.States, *m.Size
	}
	truth := func() (size int64) {
		t.Helper()
		l, err := store.List(t.Context(), r.Store, r.Domain)
		if err != nil {
			t.Fatal(err)
		}
		return l.Allocated
	}
	states, size := look()
	if states != 1 || size != truth() || size < 2*mib {
		t.Errorf("%d states, %d bytes", states, size)
	}
	r.Add(t, storetest.Changed("vda", 8*mib, storetest.Wrote(4*mib, mib, 2)))
	if states, size = look(); states != 2 || size != truth() || size < 3*mib {
		t.Errorf("after another state: %d states, %d bytes, which take %d", states, size, truth())
	}

	// An image grows without the manifest, as one that is merged: that is seen in time.
	image := r.Path(r.Manifest(t).Images[0].Name)
	f, err := os.OpenFile(image, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(make([]byte, mib)); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, again := look(); again != size {
		t.Errorf("measured at once: %d, before %d", again, size)
	}
	now = now.Add(sizeAge)
	if _, again := look(); again != truth() || again < size+mib {
		t.Errorf("measured later: %d, before %d, they take %d", again, size, truth())
	}
	if err := os.Remove(r.Path(store.ManifestName)); err != nil {
		t.Fatal(err)
	}
	m := &api.Machine{Store: r.Store, TargetDomain: r.Domain}
	if s.add(m, now); m.States != nil || m.Size != nil || len(s.known) != 0 {
		t.Errorf("of none: %+v", m)
	}
}
