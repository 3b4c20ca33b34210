package metrics

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"vmsync/internal/api"
	"vmsync/internal/storetest"
)

// blocks is what files take on disk, in bytes.
func blocks(t *testing.T, dir string, patterns ...string) (sum int64) {
	t.Helper()
	for _, p := range patterns {
		files, err := filepath.Glob(filepath.Join(dir, p))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: no files, %v", p, err)
		}
		for _, f := range files {
			info, err := os.Stat(f)
			if err != nil {
				t.Fatal(err)
			}
			sum += info.Sys().(*syscall.Stat_t).Blocks * 512
		}
	}
	return sum
}

func TestStoresAreLookedAt(t *testing.T) {
	r := storetest.New(t)
	r.Add(t, storetest.Changed("vda", 1<<20, storetest.Wrote(0, 1<<19, 7)))
	r.Add(t, storetest.Changed("vda", 1<<20, storetest.Wrote(0, 4096, 8)))
	all := []replica{{r.Store, r.Domain}, {r.Store, "nobody"}, {r.Store, "../" + r.Domain}, {filepath.Join(r.Store, "gone"), r.Domain}}
	s := lookAt(all)
	want := holding{states: 2, bytes: blocks(t, r.Folder.Dir(), "disks/*", "index/*", "xml/*")}
	if got := s.replicas[all[0]]; got != want || want.bytes < 1<<19 {
		t.Errorf("%+v, want %+v", got, want)
	}
	if len(s.replicas) != 1 || len(s.filesystems) != 1 {
		t.Errorf("%+v", s)
	}
	if fs := s.filesystems[r.Store]; fs.size < fs.avail || fs.avail == 0 {
		t.Errorf("%+v", fs)
	}
	// Images that a dead run left take room as well.
	if err := os.WriteFile(r.Folder.Path("disks/vda.99.qcow2"), make([]byte, 1<<16), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := lookAt(all).replicas[all[0]]; got.bytes < want.bytes+1<<16 {
		t.Errorf("%+v", got)
	}
}

func TestStoresAreLookedAtNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		looks := 0
		s := &stores{look: func(all []replica) *stored {
			looks++
			time.Sleep(time.Second)
			return &stored{replicas: map[replica]holding{all[0]: {states: looks}}}
		}}
		st := &api.Status{Machines: []api.Machine{{Name: "vm1", Store: "/s", TargetDomain: "vm1"}}}
		// The third finds that it is time to look again, and does not wait for that.
		for i, c := range []struct{ sleep, took, states int }{{0, 1, 1}, {40, 0, 1}, {40, 0, 1}, {2, 0, 2}} {
			time.Sleep(time.Duration(c.sleep) * time.Second)
			began := time.Now()
			got := s.of(t.Context(), st)
			if took := time.Since(began); took != time.Duration(c.took)*time.Second || got.replicas[replica{"/s", "vm1"}].states != c.states {
				t.Errorf("%d: %+v after %s", i, got, took)
			}
		}
	})
}

func TestDiskThatHangsHoldsNothingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang, looks := make(chan struct{}), 0
		w := well()
		w.local = true
		first := New(w.standing)
		first.stores.look = func([]replica) *stored { <-hang; return nil }
		atFirst := time.Now()
		says(t, figures(t, first), map[string]float64{"vmsync_states{domain=vm1,source=hosta}": none, "vmsync_rpo_seconds{domain=vm1,source=hosta}": 1800})
		if took := time.Since(atFirst); took != lookPatience {
			t.Errorf("the first scrape took %s", took)
		}
		m := New(w.standing)
		known := &stored{replicas: map[replica]holding{{"/store", "vm1"}: {states: 3}}}
		m.stores.look = func([]replica) *stored {
			if looks++; looks > 1 {
				<-hang
			}
			return known
		}
		const states = "vmsync_states{domain=vm1,source=hosta}"
		says(t, figures(t, m), map[string]float64{states: 3})
		time.Sleep(lookEvery)
		for range 3 {
			began := time.Now()
			got := figures(t, m)
			if took := time.Since(began); took != 0 {
				t.Errorf("a scrape took %s", took)
			}
			says(t, got, map[string]float64{states: 3, "vmsync_replica_age_seconds{domain=vm1,source=hosta}": 61.5})
		}
		began := time.Now()
		m.stores.wait()
		if took := time.Since(began); took != lookPatience {
			t.Errorf("waited %s", took)
		}
		close(hang)
		m.stores.wait()
		first.stores.wait()
		if looks != 2 {
			t.Errorf("%d looks at a disk that hangs", looks)
		}
	})
}
