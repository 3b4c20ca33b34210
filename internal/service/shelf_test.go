package service

import (
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
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
		ms := []api.Machine{{Store: r.Store, TargetDomain: "nobody"}, {Store: r.Store, TargetDomain: r.Domain},
			{Store: r.Store, TargetDomain: "../" + r.Domain}, {Store: filepath.Join(r.Store, "gone"), TargetDomain: r.Domain}}
		stores := s.fill(t.Context(), ms, now)
		if len(stores) != 1 || stores[0].Path != r.Store || stores[0].Avail == 0 || stores[0].Size < stores[0].Avail {
			t.Errorf("%+v", stores)
		}
		for _, i := range []int{0, 2, 3} {
			if ms[i].States != nil || ms[i].Size != nil || ms[i].Role != "" {
				t.Errorf("of %s in %s: %+v", ms[i].TargetDomain, ms[i].Store, ms[i])
			}
		}
		m := ms[1]
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
	ms := []api.Machine{{Store: r.Store, TargetDomain: r.Domain}}
	if s.fill(t.Context(), ms, now); ms[0].States != nil || ms[0].Size != nil || len(s.replicas) != 0 {
		t.Errorf("of none: %+v", ms[0])
	}
	if s.keep(nil); len(s.stores) != 0 || len(s.looks) != 0 {
		t.Errorf("%+v", s)
	}
}

func TestDiskThatHangsHoldsNobodyUpForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var looks atomic.Int32
		states := 3
		hang := make(chan struct{})
		close(hang)
		s := &shelf{renew: func(r replica, _ stored, _ time.Time) (stored, error) {
			if r.store == "/hangs" {
				looks.Add(1)
				<-hang
			}
			return stored{states: states}, nil
		}}
		// ask asks for a machine in each store, and returns what was said of them.
		ask := func(took time.Duration, want ...int) {
			t.Helper()
			ms := []api.Machine{{Store: "/hangs", TargetDomain: "a"}, {Store: "/well", TargetDomain: "b"}}
			began := time.Now()
			s.fill(t.Context(), ms, began)
			if got := time.Since(began); got != took || ms[0].States == nil || *ms[0].States != want[0] || *ms[1].States != want[1] {
				t.Errorf("after %s: %+v", got, ms)
			}
		}
		ask(0, 3, 3)
		hang, states = make(chan struct{}), 4
		// What is known is told, late; the other store is not held up.
		for range storeLooks {
			ask(storePatience, 3, 4)
		}
		ask(0, 3, 4) // and once enough looks hang, at once
		if n := looks.Load(); n != 1+storeLooks {
			t.Errorf("%d looks at a disk that hangs", n)
		}
		began := time.Now()
		s.wait()
		if took := time.Since(began); took != storePatience {
			t.Errorf("waited %s", took)
		}
		close(hang)
		s.wait()
		ask(0, 4, 4)
	})
}
