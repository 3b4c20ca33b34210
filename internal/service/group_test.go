package service

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vmsync/internal/api"
	"vmsync/internal/event"
	"vmsync/internal/history"
	"vmsync/replicator"
)

func TestWhoIsSyncedTogether(t *testing.T) {
	idle := turn{able: true, slack: time.Hour}
	with := func(base turn, f func(*turn)) turn { f(&base); return base }
	due := with(idle, func(m *turn) { m.due = true })
	failed := with(due, func(m *turn) { m.failed = true })
	waiting := with(idle, func(m *turn) { m.failed = true })
	off := with(due, func(m *turn) { m.able = false })
	asked := with(idle, func(m *turn) { m.wanted, m.slack = true, time.Hour })
	running := turn{running: true}
	late := with(due, func(m *turn) { m.slack = -1 })
	for name, c := range map[string]struct {
		members         []turn
		together, alone []int
	}{
		"nobody is due":                             {[]turn{idle, idle}, nil, nil},
		"one is due and takes all":                  {[]turn{idle, due, idle}, []int{0, 1, 2}, nil},
		"one is asked for and takes all":            {[]turn{asked, idle}, []int{0, 1}, nil},
		"one cannot, the others go on":              {[]turn{due, off, due}, []int{0, 2}, nil},
		"none can":                                  {[]turn{off, off}, nil, nil},
		"one has failed and is tried by itself":     {[]turn{idle, failed, idle}, nil, []int{1}},
		"one has failed, but the group is due":      {[]turn{due, waiting}, []int{0, 1}, nil},
		"one has failed and is not due":             {[]turn{idle, waiting}, nil, nil},
		"all have failed and are tried as one":      {[]turn{failed, waiting}, []int{0, 1}, nil},
		"all that can have failed":                  {[]turn{failed, off}, []int{0}, nil},
		"one still runs and is waited for":          {[]turn{due, running}, nil, nil},
		"but not until a promise is broken":         {[]turn{late, idle, running}, []int{0, 1}, nil},
		"not even if somebody asks":                 {[]turn{asked, running}, nil, nil},
		"one still runs, one has failed":            {[]turn{idle, failed, running}, nil, []int{1}},
		"all but one that runs have failed":         {[]turn{failed, running}, nil, []int{0}},
		"one that failed is waited for like others": {[]turn{due, failed, running}, nil, nil},
	} {
		together, alone := turns(c.members)
		if !slices.Equal(together, c.together) || !slices.Equal(alone, c.alone) {
			t.Errorf("%s: together %v, alone %v; want %v, %v", name, together, alone, c.together, c.alone)
		}
	}
}

const shop = head + "retry: {first: 30s, max: 5m}\ndefaults: {every: 1h, group: shop}\nmachines: [{name: 'vm*'}]\n"

// sets are the ids of the sets that a domain's runs took part in.
func (w *world) sets(domain string) (all []string) {
	for _, r := range w.ranOf(domain) {
		all = append(all, r.req.Seat.SetID())
	}
	return all
}

func TestGroupIsSyncedAsOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.has("hosta", "vm1", "vm2")
		w.has("hostb", "vm3")
		s := serve(t, w, shop+"concurrency: {total: 3, per_source: 2}\njitter: 10m\n")
		time.Sleep(4 * time.Hour)
		one := w.sets("vm1")
		if len(one) < 4 || one[0] == "" || one[0] == one[1] {
			t.Fatalf("sets %q", one)
		}
		for _, name := range []string{"vm2", "vm3"} {
			if got := w.sets(name); !slices.Equal(got, one) {
				t.Errorf("%s: sets %q, vm1 %q", name, got, one)
			}
		}
		m := s.status("vm3")
		if m.Group != "shop" || m.Last.Group != one[len(one)-1] || len(m.Last.ID) != 12 || m.Last.ID == s.status("vm1").Last.ID {
			t.Errorf("%+v", m)
		}
		if log := s.log.String(); !strings.Contains(log, "SET="+one[0]) || strings.Contains(log, "not carried out") {
			t.Error(log)
		}
	})
}

func TestAskingForAMemberTakesItsGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.has("hosta", "vm1", "vm2", "vm3")
		s := serve(t, w, shop)
		time.Sleep(time.Minute)
		f, err := s.Sync(t.Context(), "", "vm2", api.SyncRequest{Full: true})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		first, _ := f.Next(t.Context())
		if n, ok := first.(event.Notice); !ok || !strings.Contains(n.Message, "together with vm1, vm3") {
			t.Errorf("%+v", first)
		}
		time.Sleep(time.Minute)
		one := w.sets("vm1")
		if len(one) != 2 || !slices.Equal(one, w.sets("vm2")) || !slices.Equal(one, w.sets("vm3")) {
			t.Errorf("sets %q, %q, %q", one, w.sets("vm2"), w.sets("vm3"))
		}
		if w.ranOf("vm1")[1].req.Options.Full || !w.ranOf("vm2")[1].req.Options.Full {
			t.Error("what is asked for of one is done to another")
		}
		if m := s.status("vm1"); m.Last.Trigger != "request" {
			t.Errorf("%+v", m.Last)
		}
	})
}

func TestMemberThatCannotIsLeftOutAndTriedByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.has("hosta", "vm1", "vm2")
		w.has("hostb", "vm3")
		s := serve(t, w, shop)
		time.Sleep(time.Minute)
		w.set("hosta", func() {
			w.fails["vm2"] = &replicator.Error{Kind: replicator.KindNotFrozen, Domain: "vm2", Err: errors.New("the agent hangs")}
		})
		time.Sleep(2 * time.Hour)
		if n := len(w.ranOf("vm1")); n != 3 {
			t.Errorf("the others were synced %d times", n)
		}
		if n := len(w.ranOf("vm2")); n < 10 {
			t.Errorf("the one that fails was tried %d times", n)
		}
		whole := 0
		for _, id := range w.sets("vm2") {
			if id != "" {
				whole++
			}
		}
		if whole != 3 {
			t.Errorf("it took part in %d sets", whole)
		}
		w.set("hosta", func() { delete(w.fails, "vm2") })
		if _, err := s.Pause(t.Context(), "", "vm1", "roof work"); err != nil {
			t.Fatal(err)
		}
		w.set("hostb", func() { w.down["hostb"] = true })
		time.Sleep(time.Hour)
		if len(w.ranOf("vm1")) != 3 || len(w.ranOf("vm3")) != 3 || s.status("vm2").Failures != 0 {
			t.Error("one that is paused or whose source is down was synced, or the last one was not")
		}
		w.set("hostb", func() { w.down["hostb"] = false })
		if _, err := s.Resume(t.Context(), "", "vm1"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		last := s.status("vm1").Last
		if last.Outcome != history.Succeeded || last.Group == "" {
			t.Errorf("%+v", last)
		}
		time.Sleep(time.Hour)
		one, three := w.sets("vm1"), w.sets("vm3")
		if two := w.sets("vm2"); one[len(one)-1] != two[len(two)-1] || one[len(one)-1] != three[len(three)-1] {
			t.Error("they are not together again")
		}
	})
}

// A member with a long copy, as the first one may be, does not keep the others from what
// is promised of them.
func TestLongCopyOfAMemberBreaksNoPromise(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.has("hosta", "vm1", "vm2")
		s := serve(t, w, shop)
		time.Sleep(time.Minute)
		w.mu.Lock()
		w.tooks = map[string]time.Duration{"vm2": 9 * time.Hour}
		w.mu.Unlock()
		oldest := 0.0
		for i := range 10 * 60 {
			time.Sleep(time.Minute)
			oldest = max(oldest, *s.status("vm1").Age)
			if i == 120 {
				w.mu.Lock()
				w.tooks = nil // but for the run that is under way
				w.mu.Unlock()
			}
		}
		if oldest > 7200 {
			t.Errorf("the other's replica got %.0f s old", oldest)
		}
		if n := len(w.ranOf("vm1")); n < 5 || n > 8 {
			t.Errorf("it was synced %d times", n)
		}
		time.Sleep(2 * time.Hour)
		one, two := w.sets("vm1"), w.sets("vm2")
		if one[len(one)-1] != two[len(two)-1] {
			t.Error("they are not together again")
		}
	})
}
