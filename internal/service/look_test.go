package service

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vmsync/internal/history"
	"vmsync/internal/schedule"
	"vmsync/internal/store"
	"vmsync/internal/storetest"
	"vmsync/replicator"
)

// replicaOf makes a replica of vm1 in a store, and the configuration that writes to it. Of
// the world it touches no channel: those belong into a bubble.
func replicaOf(t *testing.T, w *world, settings string) (*storetest.Replica, string) {
	t.Helper()
	r := storetest.New(t)
	r.Add(t, storetest.Changed("vda", 1<<20, storetest.Wrote(0, storetest.Block, 1)))
	r.Change(t, func(m *store.Manifest) { m.Source.Domain = "vm1" })
	r.Unlock(t)
	w.marks["vm1"] = &replicator.Mark{Domain: "vm1", UUID: "vm1", Checkpoint: r.Manifest(t).Head().Checkpoint, Disks: []string{"vda"},
		Shape: replicator.Shape{Definition: "d", Disks: "vda"}}
	return r, fmt.Sprintf("%sstore: %q\nmachines: [{name: vm1, %s}]\n", head, r.Store, settings)
}

func TestIdleMachineIsLookedAtAndNotSynced(t *testing.T) {
	w := newWorld()
	_, text := replicaOf(t, w, "rpo: 30s")
	file := historyFile(t)
	synctest.Test(t, func(t *testing.T) {
		w.has("hosta", "vm1")
		s := serveAt(t, w, text, file)
		time.Sleep(5 * time.Second)
		for range 20 * 60 {
			time.Sleep(time.Second)
			if m := s.status("vm1"); *m.Age > 30 || m.Health != schedule.Healthy {
				t.Fatalf("%+v", m)
			}
		}
		if n := len(w.ranOf("vm1")); n != 1 {
			t.Errorf("it was synced %d times", n)
		}
		if n := w.looksAt("vm1"); n < 40 || n > 60 {
			t.Errorf("it was looked at %d times in 20 minutes", n)
		}
		w.changes("vm1", true)
		time.Sleep(30 * time.Second)
		all := w.ranOf("vm1")
		if len(all) != 2 || s.status("vm1").Last.Trigger != triggerSchedule {
			t.Fatalf("what changed is not synced: %+v", all)
		}
		time.Sleep(5 * time.Minute)
		if n := len(w.ranOf("vm1")); n != 2 {
			t.Errorf("then it was synced %d times", n)
		}
		fresh := s.status("vm1").Fresh
		s.end()
		if strings.Contains(s.log.String(), "level=WARN") || strings.Contains(s.log.String(), "level=ERROR") {
			t.Error(s.log.String())
		}
		h, _, err := history.Open(file, history.Limits{Runs: 1, Age: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		if m, err := h.Machine("hosta/vm1"); err != nil || !m.Fresh.Equal(fresh) {
			t.Errorf("the history has %+v, %v; it was fresh at %s", m, err, fresh)
		}
	})
}

func TestLooksAreNoEnd(t *testing.T) {
	w := newWorld()
	_, text := replicaOf(t, w, "rpo: 30s")
	w.skips["vm1"] = true
	synctest.Test(t, func(t *testing.T) {
		w.has("hosta", "vm1")
		serve(t, w, text)
		time.Sleep(10 * time.Hour)
		if n := len(w.ranOf("vm1")); n < 10 || n > 20 {
			t.Errorf("in 10 hours a run looked %d times", n)
		}
	})
}

// TestWhatIsNotCertainIsSynced has looks that cannot tell, or are not to be trusted.
func TestWhatIsNotCertainIsSynced(t *testing.T) {
	for name, c := range map[string]struct {
		settings string
		spoil    func(t *testing.T, w *world, s *running, r *storetest.Replica)
		want     int // syncs in all
	}{
		"nothing happens": {"rpo: 30s", func(*testing.T, *world, *running, *storetest.Replica) {}, 1},
		"the store has another manifest": {"rpo: 30s", func(t *testing.T, _ *world, _ *running, r *storetest.Replica) {
			r.Change(t, func(m *store.Manifest) { m.Keep = "3" })
		}, 2},
		"the replica follows no more": {"rpo: 30s", func(t *testing.T, w *world, s *running, r *storetest.Replica) {
			r.Change(t, func(m *store.Manifest) { m.Role = store.RoleActive })
		}, 12},
		"the head is not of the run's checkpoint": {"rpo: 30s", func(_ *testing.T, w *world, _ *running, _ *storetest.Replica) {
			w.mu.Lock()
			defer w.mu.Unlock()
			other := *w.marks["vm1"]
			other.Checkpoint = "vmsync-00000000-9" // as of a run that somebody made by hand
			w.marks["vm1"] = &other
			w.dirty["vm1"] = true
		}, 12},
		"the watch does not answer": {"rpo: 30s", func(_ *testing.T, w *world, _ *running, _ *storetest.Replica) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.mute["hosta"] = true
		}, 6},
		"the configuration was read again": {"rpo: 30s", func(t *testing.T, _ *world, s *running, _ *storetest.Replica) {
			if err := s.Reload(t.Context()); err != nil {
				t.Error(err)
			}
		}, 2},
		"each run is to make a state": {"every: 30s", func(*testing.T, *world, *running, *storetest.Replica) {}, 12},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			r, text := replicaOf(t, w, c.settings)
			synctest.Test(t, func(t *testing.T) {
				w.has("hosta", "vm1")
				s := serve(t, w, text)
				time.Sleep(time.Minute)
				before := len(w.ranOf("vm1"))
				c.spoil(t, w, s, r)
				time.Sleep(5 * time.Minute)
				got := len(w.ranOf("vm1"))
				// Of those that go on and on it matters that they do.
				if c.want <= 2 && got != c.want || c.want > 2 && got < c.want/2 {
					t.Errorf("%d syncs, then %d, want %d", before, got, c.want)
				}
				if w.overlapped() {
					t.Error("two at once")
				}
			})
		})
	}
}

func TestLostHistoryIsMadeUpForByTheStore(t *testing.T) {
	w := newWorld()
	r, text := replicaOf(t, w, "every: 1h")
	w.down["hosta"] = true
	w.fails["vm1"] = errors.New("no route to host")
	at := time.Date(1999, 12, 31, 23, 50, 0, 0, time.UTC) // 10 minutes before a bubble begins
	r.Change(t, func(m *store.Manifest) { m.States[0].Time = at })
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, w, text)
		time.Sleep(time.Second)
		if m := s.status("vm1"); !m.Fresh.Equal(at) || m.Health == schedule.Broken {
			t.Errorf("%+v", m)
		}
	})
	for name, change := range map[string]func(*store.Manifest){
		"it is another machine's": func(m *store.Manifest) { m.Source.Domain = "vm2" },
		"it runs by itself":       func(m *store.Manifest) { m.Role = store.RoleActive },
	} {
		r.Change(t, change)
		synctest.Test(t, func(t *testing.T) {
			s := serve(t, w, text)
			time.Sleep(time.Second)
			if m := s.status("vm1"); !m.Fresh.IsZero() {
				t.Errorf("%s: %+v", name, m)
			}
		})
		r.Change(t, func(m *store.Manifest) { m.Source.Domain, m.Role = "vm1", store.RoleReplica })
	}
}
