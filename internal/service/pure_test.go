package service

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"vmsync/internal/config"
	"vmsync/internal/event"
	"vmsync/internal/history"
	"vmsync/internal/schedule"
	"vmsync/replicator"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestFleet(t *testing.T) {
	const entries = "exclude: [tmp]\nmachines: [{name: db, every: 1h}, {name: only-a, source: hosta, every: 1h}, {name: 'web-*', every: 1h}]\n"
	c := parse(t, head+entries)
	domains := func(names ...string) listing { // a leading ~ is one that is off, = a replica
		l := listing{}
		for _, n := range names {
			name, off := strings.CutPrefix(n, "~")
			name, replica := strings.CutPrefix(name, "=")
			l[name] = replicator.SourceDomain{Name: name, Running: !off, Replica: replica}
		}
		return l
	}
	keys := func(names ...string) map[string]bool {
		m := map[string]bool{}
		for _, n := range names {
			m[n] = true
		}
		return m
	}
	for name, c2 := range map[string]struct {
		a, b           listing
		known, current map[string]bool
		want           string
	}{
		"nothing is known":                      {nil, nil, nil, nil, "hosta/db hosta/only-a"},
		"named ones are, wherever they are":     {domains(), domains("db"), nil, nil, "hosta/only-a hostb/db"},
		"named ones are also if they are not":   {domains(), domains(), nil, nil, "hosta/db hosta/only-a"},
		"patterns take in what there is":        {domains("web-1", "other"), domains("web-2", "tmp"), nil, nil, "hosta/db hosta/only-a hosta/web-1 hostb/web-2"},
		"what is off is as well":                {domains("~web-1"), domains(), nil, nil, "hosta/db hosta/only-a hosta/web-1"},
		"patterns leave replicas out":           {domains("web-1"), domains("~=web-1", "=web-2", "=db"), nil, nil, "hosta/db hosta/only-a hosta/web-1"},
		"a replica never is the machine":        {nil, domains("=db"), keys("hosta/db"), nil, "hosta/db hosta/only-a"},
		"of two the one that runs":              {domains("~web-1"), domains("web-1"), nil, keys("hosta/web-1"), "hosta/db hosta/only-a hostb/web-1"},
		"of two that run the one that is known": {domains("web-1"), domains("web-1"), nil, keys("hostb/web-1"), "hosta/db hosta/only-a hostb/web-1"},
		"a source that is down is remembered":   {domains(), nil, keys("hostb/web-9", "hostb/gone", "hosta/web-8"), nil, "hosta/only-a hostb/db hostb/web-9"},
	} {
		got := fleet(c, map[string]listing{"hosta": c2.a, "hostb": c2.b}, c2.known, c2.current)
		if all := strings.Join(slices.Sorted(maps.Keys(got)), " "); all != c2.want {
			t.Errorf("%s: %s, want %s", name, all, c2.want)
		}
		for key, p := range got {
			if key != history.Key(p.Source, p.Domain) {
				t.Errorf("%s: %s has the policy of %s/%s", name, key, p.Source, p.Domain)
			}
		}
	}
	// With replicas of their own both are followed.
	c = parse(t, head+"defaults: {target_domain: '{domain}-{source}'}\n"+entries)
	if got := fleet(c, map[string]listing{"hosta": domains("web-1"), "hostb": domains("web-1")}, nil, nil); len(got) != 5 {
		t.Errorf("%v", slices.Collect(maps.Keys(got)))
	}
}

func TestOutcome(t *testing.T) {
	summary := replicator.Synced{Summary: &event.Summary{State: "s1", Kind: event.KindFull, ChangedBytes: 5, Frozen: 125 * time.Millisecond}}
	skipped := replicator.Synced{Skipped: &event.Skipped{ChangedBytes: 3}}
	bad := &replicator.Error{Kind: replicator.KindNoSpace, Disk: "vda", Op: "write", Hint: "free some", Err: errors.New("no space")}
	for name, c := range map[string]struct {
		synced  replicator.Synced
		err     error
		stopped bool
		want    history.Run
	}{
		"a state":                   {summary, nil, false, history.Run{Outcome: history.Succeeded, State: "s1", Kind: "full", Changed: 5, Frozen: 0.125}},
		"a state, and then trouble": {summary, bad, false, history.Run{Outcome: history.Succeeded, State: "s1", Kind: "full", Changed: 5, Frozen: 0.125, Error: reason(bad)}},
		"a state although stopped":  {summary, nil, true, history.Run{Outcome: history.Succeeded, State: "s1", Kind: "full", Changed: 5, Frozen: 0.125}},
		"too little":                {skipped, nil, false, history.Run{Outcome: history.Unchanged, Changed: 3}},
		"an error": {replicator.Synced{}, fmt.Errorf("finish: %w", bad), false,
			history.Run{Outcome: history.Failed, Error: &history.RunError{Kind: "no-space", Disk: "vda", Message: "finish: write: no space", Hint: "free some"}}},
		"stopped": {replicator.Synced{}, errStopped, true,
			history.Run{Outcome: history.Aborted, Error: &history.RunError{Kind: "canceled", Message: "given up, for the service ends; what was begun is undone"}}},
		"stopped, as an end tells it": {replicator.Synced{}, fmt.Errorf("wait: %w", context.Canceled), true,
			history.Run{Outcome: history.Aborted, Error: &history.RunError{Kind: "canceled", Message: "given up, for the service ends; what was begun is undone"}}},
	} {
		got := outcome(history.Run{}, c.synced, c.err, c.stopped)
		if !sameRun(got, c.want) {
			t.Errorf("%s: %+v %+v, want %+v %+v", name, got, got.Error, c.want, c.want.Error)
		}
	}
}

func sameRun(a, b history.Run) bool {
	if (a.Error == nil) != (b.Error == nil) || (a.Error != nil && *a.Error != *b.Error) {
		return false
	}
	a.Error, b.Error = nil, nil
	return a == b
}

func TestWhatARunIsWorthWhileFor(t *testing.T) {
	minimum := config.Policy{Schedule: config.Schedule{Every: time.Minute}, MinChanged: 64, MinChangedMaxAge: time.Hour}
	for name, c := range map[string]struct {
		policy config.Policy
		asked  *ask
		fresh  time.Time
		want   replicator.Request
	}{
		"every":                     {config.Policy{Schedule: config.Schedule{Every: time.Minute}}, nil, noon, replicator.Request{}},
		"continuous":                {config.Policy{Schedule: config.Schedule{RPO: time.Minute}}, nil, noon, replicator.Request{SkipUnchanged: true}},
		"with a minimum":            {minimum, nil, noon.Add(-time.Minute), replicator.Request{SkipUnchanged: true, MinChanged: 64}},
		"a minimum, but old enough": {minimum, nil, noon.Add(-time.Hour), replicator.Request{SkipUnchanged: true}},
		"a minimum, but no replica": {minimum, nil, time.Time{}, replicator.Request{SkipUnchanged: true}},
		"asked for":                 {minimum, &ask{}, noon, replicator.Request{}},
		"asked for in full":         {minimum, &ask{Full: true, MinChanged: 9}, noon, replicator.Request{Options: replicator.Options{Full: true}, MinChanged: 9}},
	} {
		var got replicator.Request
		wants(&got, &c.policy, c.asked, c.fresh, noon)
		if fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestThePastIsNeverInTheFuture(t *testing.T) {
	record := history.Machine{Fresh: noon.Add(time.Hour), Tried: noon.Add(366 * 24 * time.Hour), Took: []time.Duration{time.Second}}
	p := pastOf(&record, nil, noon)
	if !p.Fresh.Equal(noon) || !p.Tried.Equal(noon) || !p.Failed.IsZero() {
		t.Errorf("%+v", p)
	}
	rule := schedule.Rule{Every: time.Hour, RPO: 2 * time.Hour}
	if due := rule.Due("x", &p); due.After(noon.Add(time.Hour)) {
		t.Errorf("the next run is due at %s", due)
	}
	look := &history.Run{Outcome: history.Unchanged, Began: noon.Add(-time.Minute), Ended: noon}
	if p := pastOf(&record, look, noon); schedule.Predict(p.Took) < time.Minute || len(record.Took) != 1 {
		t.Errorf("%+v", p)
	}
}

func TestPromise(t *testing.T) {
	nightly, err := config.ParseCron("0 3 * * *")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		policy config.Policy
		fresh  time.Time
		want   time.Duration
	}{
		"max age":                         {config.Policy{Schedule: config.Schedule{Every: time.Hour, MaxAge: 2 * time.Hour}}, noon, 2 * time.Hour},
		"cron: till the second run after": {config.Policy{Schedule: config.Schedule{Cron: nightly}}, noon, 39 * time.Hour},
		"no replica yet":                  {config.Policy{Schedule: config.Schedule{Cron: nightly}}, time.Time{}, 39 * time.Hour},
	} {
		if got := promise(&c.policy, c.fresh, noon); got != c.want {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestStreamKeepsAllButOldProgress(t *testing.T) {
	s := newStream()
	for i := range int64(100) {
		s.Emit(event.Progress{Disk: "vda", Done: i})
		s.Emit(event.Progress{Disk: "vdb", Done: i})
	}
	s.Emit(event.Notice{Message: "half"})
	s.Emit(event.Progress{Disk: "vda", Done: 200})
	s.end()
	s.Emit(event.Notice{Message: "too late"})
	var got []event.Event
	for {
		e, ok := s.next(t.Context())
		if !ok {
			break
		}
		got = append(got, e)
	}
	want := []event.Event{event.Progress{Disk: "vda", Done: 99}, event.Progress{Disk: "vdb", Done: 99}, event.Notice{Message: "half"}, event.Progress{Disk: "vda", Done: 200}}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%+v", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, ok := newStream().next(ctx); ok {
		t.Error("something came from nothing")
	}
}
