package service

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"vmsync/internal/api"
	"vmsync/internal/history"
	"vmsync/internal/schedule"
	"vmsync/replicator"
)

// heard are the events that a listener has not taken yet.
func heard(l *Listener) (all []api.Event) {
	for {
		e, ok, _ := l.take()
		if !ok {
			return all
		}
		all = append(all, e)
	}
}

// say is an event in a few words.
func say(e api.Event) string {
	what := e.Event + " " + e.Source + "/" + e.Machine
	switch {
	case e.Run != nil:
		what += " " + string(e.Run.Outcome)
	case e.Health != "":
		what += fmt.Sprintf(" %s after %s at %.0f of %.0f", e.Health, e.Before, e.Age, e.RPO)
	case e.Error != nil:
		what += " " + e.Error.Kind
	case e.Reason != "":
		what += " " + e.Reason
	}
	return what
}

func TestListenersHearWhatHappens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.has("hosta", "vm1")
		s := serve(t, w, head+"machines: [{name: vm1, source: hosta, every: 1m, max_age: 2m}]\n")
		l := s.Listen(100, "")
		defer l.Close()
		time.Sleep(30 * time.Second)
		if _, err := s.Pause(t.Context(), "", "vm1", "roof"); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Resume(t.Context(), "", "vm1"); err != nil {
			t.Fatal(err)
		}
		w.set("hosta", func() {
			w.down["hosta"] = true
			w.fails["vm1"] = &replicator.Error{Kind: replicator.KindUnreachable, Err: errors.New("no route to host")}
		})
		time.Sleep(3 * time.Minute)
		w.set("hosta", func() { w.down["hosta"] = false; delete(w.fails, "vm1") })
		time.Sleep(10 * time.Second)
		if err := s.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.end()
		var got []string
		all := heard(l)
		for i, e := range all {
			got = append(got, say(e))
			if e.Time.IsZero() || i > 0 && e.Time.Before(all[i-1].Time) {
				t.Errorf("%s at %s", say(e), e.Time)
			}
		}
		want := []string{"machine_added hosta/vm1", "run_began hosta/vm1 running", "run_ended hosta/vm1 succeeded", "health hosta/vm1 ok after broken at 1 of 120",
			"paused hosta/vm1 roof", "resumed hosta/vm1",
			"source_lost hosta/ unreachable",
			"health hosta/vm1 at-risk after ok at 119 of 120", "health hosta/vm1 broken after at-risk at 120 of 120", "source_back hosta/",
			"run_began hosta/vm1 running", "run_ended hosta/vm1 succeeded", "health hosta/vm1 ok after broken at 1 of 120", "reloaded /", "stopping /"}
		if !slices.Equal(got, want) {
			t.Errorf("heard\n%q, want\n%q", got, want)
		}
		if _, more := l.Next(t.Context()); more {
			t.Error("something happens after the end")
		}
		// Who comes late hears what was last.
		late := s.Listen(2, "")
		defer late.Close()
		if got := heard(late); len(got) != 2 || got[1].Event != api.EventStopping {
			t.Errorf("%+v", got)
		}
	})
}

func TestSlowListenerIsToldWhatItMissesAndHoldsNobodyUp(t *testing.T) {
	s := New(Options{})
	slow, other := s.Listen(0, ""), s.Listen(0, "")
	defer other.Close()
	for i := range mostQueue + 7 {
		s.events.tell(api.Event{Event: api.EventReloaded, Missed: i})
	}
	for name, l := range map[string]*Listener{"slow": slow, "other": other} {
		all := heard(l)
		if len(all) != mostQueue+1 || all[0].Event != api.EventMissed || all[0].Missed != 7 || all[1].Missed != 7 || all[mostQueue].Missed != mostQueue+6 {
			t.Errorf("%s: %d events, first %+v", name, len(all), all[0])
		}
	}
	slow.Close()
	s.events.tell(api.Event{Event: api.EventReloaded})
	if got := heard(slow); len(got) != 0 {
		t.Errorf("who has gone hears %+v", got)
	}
	kept := heard(s.Listen(1<<20, ""))
	if len(kept) != mostPast {
		t.Fatalf("%d events are kept", len(kept))
	}
	for after, want := range map[string]int{kept[mostPast-1].ID: 0, kept[mostPast-4].ID: 3, "of another service-1": 5, "": 5} {
		if got := heard(s.Listen(5, after)); len(got) != want {
			t.Errorf("after %s: %d events", after, len(got))
		}
	}
}

func TestPace(t *testing.T) {
	at := time.Unix(1_000_000, 0)
	p := &pace{}
	if got := p.perSecond(at); got != 0 {
		t.Errorf("of nothing: %v", got)
	}
	for i := range 200 { // 100 a second for 20 s
		p.observe(at.Add(time.Duration(i)*100*time.Millisecond), int64(i)*10)
	}
	if got := p.perSecond(at.Add(19900 * time.Millisecond)); got != 100 {
		t.Errorf("steady: %v", got)
	}
	if len(p.moments) > paceMoments {
		t.Errorf("%d moments", len(p.moments))
	}
	// Nothing comes any more: it falls.
	if got := p.perSecond(at.Add(40 * time.Second)); got <= 0 || got > 40 {
		t.Errorf("stalled: %v", got)
	}
	p.observe(at.Add(41*time.Second), 5) // another phase
	if got := p.perSecond(at.Add(41 * time.Second)); got != 0 {
		t.Errorf("anew: %v", got)
	}
	p.observe(at.Add(43*time.Second), 25)
	if got := p.perSecond(at.Add(43 * time.Second)); got != 10 {
		t.Errorf("after that: %v", got)
	}
}

func TestLastRunsOfAllMachines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.has("hosta", "vm1", "vm2")
		s := serve(t, w, head+"machines: [{name: 'vm*', every: 1m}]\n")
		time.Sleep(5*time.Minute + 30*time.Second)
		runs, err := s.LastRuns(t.Context(), 3)
		if err != nil || len(runs) != 6 {
			t.Fatalf("%d runs, %v", len(runs), err)
		}
		for i, r := range runs {
			if want := []string{"vm1", "vm2"}[i/3]; r.Domain != want || r.Outcome != history.Succeeded || i%3 > 0 && !r.Began.Before(runs[i-1].Began) {
				t.Errorf("%d: %+v", i, r)
			}
		}
		if m := s.status("vm1"); m.Health != schedule.Healthy || m.Running != nil {
			t.Errorf("%+v", m)
		}
	})
}
