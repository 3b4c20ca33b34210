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
	"vmsync/internal/schedule"
	"vmsync/replicator"
)

func (r *running) status(name string) *api.Machine {
	r.t.Helper()
	m, err := r.Machine(r.t.Context(), "", name)
	if err != nil {
		r.t.Fatal(err)
	}
	return m
}

func TestMachinesAreSyncedWhenTheyAreDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.has("hosta", "vm1", "vm2", "other")
		s := serve(t, w, head+"machines: [{name: 'vm*', every: 1h}]\n")
		time.Sleep(3*time.Hour + time.Minute)
		for _, name := range []string{"vm1", "vm2"} {
			all := w.ranOf(name)
			if len(all) != 4 {
				t.Fatalf("%s was synced %d times", name, len(all))
			}
			for i, r := range all[1:] {
				if gap := r.at.Sub(all[i].at); gap != time.Hour {
					t.Errorf("%s: %s from start to start", name, gap)
				}
			}
		}
		if len(w.ranOf("other")) > 0 {
			t.Error("a machine was synced that no pattern takes in")
		}
		m := s.status("vm1")
		if m.Health != schedule.Healthy || m.Doing != api.Idle || m.RPO != 7200 || m.Last == nil || m.Last.Outcome != history.Succeeded || *m.Age != 60 {
			t.Errorf("%+v", m)
		}
		if all, err := s.Runs(t.Context(), "", "vm1", 2); err != nil || len(all) != 2 || all[0].ID != m.Last.ID || all[0].Trigger != "schedule" {
			t.Errorf("%+v, %v", all, err)
		}
		if log := s.log.String(); !strings.Contains(log, "DOMAIN=vm1 SOURCE=hosta RUN="+m.Last.ID) {
			t.Error("no line of the log has the run's fields")
		}
	})
}

func TestLimitsHoldAndNoMachineIsSyncedTwiceAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.took = 7 * time.Second
		w.has("hosta", "a1", "a2", "a3", "a4")
		w.has("hostb", "b1", "b2", "b3", "b4")
		s := serve(t, w, head+"concurrency: {total: 3, per_source: 2}\nmachines: [{name: '*', every: 5s}]\n")
		time.Sleep(20 * time.Minute)
		s.end()
		if w.twice || w.most != 3 {
			t.Errorf("twice at once: %v, at most %d at once", w.twice, w.most)
		}
		least := len(w.runs)
		for _, n := range []string{"a1", "a2", "a3", "a4", "b1", "b2", "b3", "b4"} {
			least = min(least, len(w.ranOf(n)))
		}
		if share := len(w.runs) / 8; least < share*3/4 {
			t.Errorf("of %d syncs one machine had only %d", len(w.runs), least)
		}
	})
}

func TestFailureIsRetriedLaterAndLaterUntilItRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.has("hosta", "vm1", "vm2")
		w.fails["vm1"] = &replicator.Error{Kind: replicator.KindDomainOff, Domain: "vm1", Err: errors.New("it is shut off")}
		s := serve(t, w, head+"retry: {first: 30s, max: 2m}\nmachines: [{name: 'vm*', every: 5m}]\n")
		time.Sleep(10 * time.Minute)
		synctest.Wait() // what is due at this very moment
		var gaps []time.Duration
		all := w.ranOf("vm1")
		for i := range all[1:] {
			gaps = append(gaps, all[i+1].at.Sub(all[i].at)-time.Second)
		}
		if want := []time.Duration{30 * time.Second, time.Minute, 2 * time.Minute, 2 * time.Minute}; !slices.Equal(gaps[:4], want) {
			t.Errorf("tried again after %v", gaps)
		}
		m := s.status("vm1")
		if m.Doing != api.Retrying || m.Failures != len(all) || m.Error == nil || m.Error.Kind != replicator.KindDomainOff || m.Next.Before(time.Now()) {
			t.Errorf("%+v", m)
		}
		if n := len(w.ranOf("vm2")); n != 3 {
			t.Errorf("the other machine was synced %d times", n)
		}
		// It is started: the next look at the source tells.
		w.set("hosta", func() { w.domains["hosta"] = []replicator.SourceDomain{{Name: "vm1"}, {Name: "vm2", Running: true}} })
		synctest.Wait()
		delete(w.fails, "vm1")
		w.has("hosta", "vm1", "vm2")
		time.Sleep(2 * time.Second)
		if m := s.status("vm1"); m.Failures != 0 || m.Error != nil || m.Health != schedule.Healthy || m.Last.Trigger != "retry" {
			t.Errorf("%+v", m)
		}
	})
}

func TestContinuousReplicationKeepsItsRPO(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.has("hosta", "busy", "idle")
		w.took = 4 * time.Second
		w.skips["idle"] = true
		s := serve(t, w, head+"machines: [{name: '*', rpo: 30s}]\n")
		time.Sleep(time.Minute)
		oldest := map[string]float64{}
		for range 600 {
			time.Sleep(time.Second)
			for _, name := range []string{"busy", "idle"} {
				oldest[name] = max(oldest[name], *s.status(name).Age)
			}
		}
		if oldest["busy"] > 30 || oldest["idle"] > 30 || oldest["busy"] < 20 {
			t.Errorf("the replicas got %v seconds old", oldest)
		}
		if r := w.ranOf("idle")[3]; !r.req.SkipUnchanged {
			t.Error("an idle machine gets states")
		}
		s.end()
		if log := s.log.String(); strings.Contains(log, "older than promised") {
			t.Error(log)
		}
	})
}

func TestBreachIsForetoldAndTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.has("hosta", "vm1")
		w.took = 2 * time.Minute
		s := serve(t, w, head+"machines: [{name: vm1, every: 10m, max_age: 15m}]\n")
		time.Sleep(5 * time.Minute)
		w.set("hosta", func() { w.down["hosta"] = true })
		for _, c := range []struct {
			after time.Duration // of the beginning of the sync that made the head
			want  schedule.Health
		}{{12 * time.Minute, schedule.Healthy}, {13*time.Minute + time.Second, schedule.AtRisk}, {15*time.Minute + time.Second, schedule.Broken}} {
			time.Sleep(c.after - time.Since(w.ranOf("vm1")[0].at))
			if m := s.status("vm1"); m.Health != c.want {
				t.Errorf("after %s: %s", c.after, m.Health)
			}
		}
		s.end()
		log := s.log.String()
		foretold, told := strings.Index(log, "will be older than promised"), strings.Index(log, "is older than promised")
		if foretold < 0 || told < foretold {
			t.Error(log)
		}
	})
}

func TestRequestIsServedFirstAndTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.has("hosta", "vm1")
		w.took = 10 * time.Second
		s := serve(t, w, head+"machines: [{name: vm1, every: 1h}]\n")
		time.Sleep(5 * time.Second) // a run is under way
		f, err := s.Sync(t.Context(), "", "vm1", api.SyncRequest{Full: true})
		if err != nil {
			t.Fatal(err)
		}
		other, err := s.Sync(t.Context(), "hosta", "vm1", api.SyncRequest{Full: true})
		if err != nil {
			t.Fatal(err)
		}
		taken, err := s.Sync(t.Context(), "", "vm1", api.SyncRequest{})
		if err != nil {
			t.Fatal(err)
		}
		taken.Close()
		for _, f := range []*Following{f, other} {
			var seen []event.Event
			for {
				e, ok := f.Next(t.Context())
				if !ok {
					break
				}
				seen = append(seen, e)
			}
			f.Close()
			if _, ok := seen[0].(event.Notice); !ok {
				t.Errorf("first %+v", seen[0])
			}
			if _, ok := seen[1].(event.Run); !ok {
				t.Errorf("then %+v", seen[1])
			}
			if last, ok := seen[len(seen)-1].(event.Summary); !ok || last.State != "s2" {
				t.Errorf("at last %+v", seen[len(seen)-1])
			}
		}
		all := w.ranOf("vm1")
		if len(all) != 2 || !all[1].req.Options.Full || all[1].at.Sub(all[0].at) != 10*time.Second {
			t.Errorf("%+v", all)
		}
		if m := s.status("vm1"); m.Last.Trigger != "request" {
			t.Errorf("%+v", m)
		}
		for name, kind := range map[string]string{"nobody": api.KindUnknownMachine} {
			var e *api.Error
			if _, err := s.Sync(t.Context(), "", name, api.SyncRequest{}); !errors.As(err, &e) || e.Kind != kind || e.Hint == "" {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

func TestPausedMachineIsLeftAloneAlsoAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, file := newWorld(), historyFile(t)
		w.has("hosta", "vm1")
		const text = head + "machines: [{name: vm1, every: 1m}]\n"
		s := serveAt(t, w, text, file)
		time.Sleep(10 * time.Second)
		for _, want := range []bool{true, false} {
			if changed, err := s.Pause(t.Context(), "", "vm1", "work on the roof"); err != nil || changed != want {
				t.Errorf("%v, %v", changed, err)
			}
		}
		time.Sleep(10 * time.Minute)
		s.end()
		s = serveAt(t, w, text, file)
		time.Sleep(10 * time.Minute)
		if n := len(w.ranOf("vm1")); n != 1 {
			t.Errorf("synced %d times", n)
		}
		if m := s.status("vm1"); m.Health != api.Paused || m.Doing != api.Resting || m.Paused.Reason != "work on the roof" || m.Broken() {
			t.Errorf("%+v", m)
		}
		var e *api.Error
		if _, err := s.Sync(t.Context(), "", "vm1", api.SyncRequest{}); !errors.As(err, &e) || e.Kind != api.KindPaused {
			t.Errorf("%v", err)
		}
		if changed, err := s.Resume(t.Context(), "", "vm1"); err != nil || !changed {
			t.Errorf("%v, %v", changed, err)
		}
		time.Sleep(2 * time.Second)
		if m := s.status("vm1"); m.Health != schedule.Healthy || len(w.ranOf("vm1")) != 2 {
			t.Errorf("what was missed is made up once: %+v", m)
		}
	})
}

func TestRunsEndBeforeTheServiceDoesOrAreGivenUp(t *testing.T) {
	for name, c := range map[string]struct {
		took, until time.Duration
		want        history.Outcome
	}{
		"ends in time": {20 * time.Second, 15 * time.Second, history.Succeeded},
		"takes longer": {time.Hour, 31 * time.Second, history.Aborted},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, file := newWorld(), historyFile(t)
				w.has("hosta", "vm1")
				w.took = c.took
				s := serveAt(t, w, head+"machines: [{name: vm1, every: 1m}]\n", file)
				time.Sleep(5 * time.Second)
				f, err := s.Sync(t.Context(), "", "vm1", api.SyncRequest{})
				if err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				s.end()
				if took := time.Since(began); took != c.until {
					t.Errorf("it took %s to end", took)
				}
				if _, ok := f.Next(t.Context()); !ok {
					t.Error("whoever waited is not told") // the notice
				}
				if e, _ := f.Next(t.Context()); e.(event.Error).Kind != api.KindStopping {
					t.Errorf("%+v", e)
				}
				f.Close()
				h, killed, err := history.Open(file, history.Limits{Runs: 10, Age: time.Hour})
				if err != nil || len(killed) > 0 {
					t.Fatal(err, killed)
				}
				defer h.Close()
				if all, err := h.Runs(t.Context(), "hosta/vm1", 9); err != nil || len(all) != 1 || all[0].Outcome != c.want {
					t.Errorf("%+v, %v", all, err)
				}
			})
		})
	}
}

func TestSourceThatComesBackIsServedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.has("hosta", "vm1")
		w.has("hostb", "vm2")
		s := serve(t, w, head+"machines: [{name: '*', every: 1m}]\n")
		time.Sleep(30 * time.Second)
		w.set("hosta", func() { w.down["hosta"] = true })
		time.Sleep(30 * time.Minute)
		m := s.status("vm1")
		if m.Doing != api.Held || m.Error == nil || m.Error.Kind != replicator.KindUnreachable || m.Health != schedule.Broken {
			t.Errorf("%+v", m)
		}
		if n := len(w.ranOf("vm2")); n < 30 {
			t.Errorf("the other source's machine was synced %d times", n)
		}
		n := len(w.ranOf("vm1"))
		w.set("hosta", func() { w.down["hosta"] = false })
		time.Sleep(tryAtMost + 2*time.Second)
		if m := s.status("vm1"); len(w.ranOf("vm1")) != n+1 || m.Health != schedule.Healthy || m.Error != nil {
			t.Errorf("%d runs, %+v", len(w.ranOf("vm1"))-n, m)
		}
	})
}

func TestMachinesOfASourceThatIsDownAreKnownAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, file := newWorld(), historyFile(t)
		w.has("hosta", "vm1")
		const text = head + "machines: [{name: '*', every: 1m}]\n"
		s := serveAt(t, w, text, file)
		time.Sleep(30 * time.Second)
		s.end()
		w.set("hosta", func() { w.down["hosta"] = true })
		s = serveAt(t, w, text, file)
		time.Sleep(time.Hour)
		if m := s.status("vm1"); m.Health != schedule.Broken || m.Doing != api.Held {
			t.Errorf("%+v", m)
		}
	})
}

func TestConfigurationIsReadAgainUnderRunningSyncs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.has("hosta", "vm1", "vm2")
		w.took = 10 * time.Second
		s := serve(t, w, head+"machines: [{name: vm1, every: 1h}]\n")
		time.Sleep(5 * time.Second)
		s.text = head + "machines: [{name: vm2, evry: 1m}]\n"
		var e *api.Error
		if err := s.Reload(t.Context()); !errors.As(err, &e) || e.Kind != api.KindBadConfig || !strings.Contains(e.Message, "test.yaml:3:") {
			t.Errorf("%v", err)
		}
		if m := s.status("vm1"); m.Doing != api.Syncing || m.Schedule != "every 1h" || m.Running.Phase != "transfer" || m.Running.Total != 4 {
			t.Errorf("%+v", m)
		}
		s.text = head + "machines: [{name: vm2, every: 1m}]\n"
		if err := s.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Machine(t.Context(), "", "vm1"); !errors.As(err, &e) || e.Kind != api.KindUnknownMachine {
			t.Errorf("%v", err)
		}
		// It comes back while its run is still under way: that is its run.
		s.text = head + "machines: [{name: 'vm*', every: 1m}]\n"
		if err := s.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		if m := s.status("vm1"); m.Doing != api.Syncing {
			t.Errorf("%+v", m)
		}
		time.Sleep(20 * time.Second)
		if m := s.status("vm1"); m.Last == nil || m.Last.Outcome != history.Succeeded || len(w.ranOf("vm1")) != 1 || len(w.ranOf("vm2")) != 1 {
			t.Errorf("%+v", m)
		}
		if w.overlapped() {
			t.Error("a machine was synced twice at once")
		}
	})
}

func TestSourceThatIsElsewhereNowIsFollowedThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.has("hosta", "vm1")
		s := serve(t, w, head+"machines: [{name: vm1, source: hosta, every: 1m}]\n")
		time.Sleep(10 * time.Second)
		s.text = strings.Replace(s.text, "root@hosta/", "root@elsewhere/", 1)
		if err := s.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		all := w.ranOf("vm1")
		if first, last := all[0].req.SourceHost, all[len(all)-1].req.SourceHost; first != "hosta" || last != "elsewhere" {
			t.Errorf("synced from %s and then from %s", first, last)
		}
		if st, err := s.Status(t.Context()); err != nil || st.Sources[0].URI != "qemu+ssh://root@elsewhere/system" || st.Sources[0].Listed.IsZero() {
			t.Errorf("%+v, %v", st, err)
		}
	})
}

func TestServiceThatWasKilledTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, file := newWorld(), historyFile(t)
		w.has("hosta", "vm1")
		h, _, err := history.Open(file, history.Limits{Runs: 10, Age: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		if err := h.Begin(history.Run{ID: "dead", Machine: "hosta/vm1", Source: "hosta", Domain: "vm1", Trigger: "schedule", Began: time.Now()}); err != nil {
			t.Fatal(err)
		}
		h.Close()
		s := serveAt(t, w, head+"machines: [{name: vm1, every: 1h}]\n", file)
		synctest.Wait()
		if m := s.status("vm1"); m.Failures != 1 || m.Last == nil || m.Last.Outcome != history.Killed || m.Error == nil || m.Doing != api.Retrying {
			t.Errorf("%+v", m)
		}
		time.Sleep(40 * time.Second)
		if m := s.status("vm1"); m.Failures != 0 || m.Health != schedule.Healthy {
			t.Errorf("%+v", m)
		}
	})
}
