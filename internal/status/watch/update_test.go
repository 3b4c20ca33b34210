package watch

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"vmsync/internal/api"
	"vmsync/internal/history"
	"vmsync/internal/schedule"
	"vmsync/internal/ui"
)

// names are the machines of the table, in its order, the selected one in brackets.
func names(m Model) string {
	var all []string
	for i, one := range m.machines() {
		if i == m.chosen(m.machines()) {
			all = append(all, "["+one.Name+"]")
			continue
		}
		all = append(all, one.Name)
	}
	return strings.Join(all, " ")
}

func TestKeys(t *testing.T) {
	base := after(small(), Size{80, 24})
	const fresh = "new\x1b[2J\u202e"
	for name, c := range map[string]struct {
		keys []any
		want string
	}{
		"at first":                 {nil, "[archive] build db1 mail " + fresh + " web-frontend-1"},
		"down":                     {[]any{Key("down"), Key("j")}, "archive build [db1] mail " + fresh + " web-frontend-1"},
		"up from the first":        {[]any{Key("up")}, "[archive] build db1 mail " + fresh + " web-frontend-1"},
		"to the end and up":        {[]any{Key("end"), Key("k")}, "archive build db1 mail [" + fresh + "] web-frontend-1"},
		"a page, and back":         {[]any{Key("pgdown"), Key("pgup")}, "[archive] build db1 mail " + fresh + " web-frontend-1"},
		"by health":                {[]any{Key("s")}, "[archive] " + fresh + " mail db1 web-frontend-1 build"},
		"by age":                   {[]any{Key("s"), Key("s")}, fresh + " build [archive] mail web-frontend-1 db1"},
		"by last run":              {[]any{Key("s"), Key("s"), Key("s")}, "db1 web-frontend-1 mail [archive] build " + fresh},
		"by name again":            {[]any{Key("s"), Key("s"), Key("s"), Key("s")}, "[archive] build db1 mail " + fresh + " web-frontend-1"},
		"selected, then sorted":    {[]any{Key("down"), Key("s")}, "archive " + fresh + " mail db1 web-frontend-1 [build]"},
		"filtered by source":       {[]any{Key("/"), Key("H"), Key("o"), Key("s"), Key("t"), Key("b")}, "[archive]"},
		"one key taken back":       {[]any{Key("/"), Key("d"), Key("ü"), Key("backspace")}, "[build] db1 web-frontend-1"},
		"filter cleared":           {[]any{Key("/"), Key("d"), Key("esc")}, "[build] archive db1 mail"},
		"filter cleared later":     {[]any{Key("/"), Key("d"), Key("enter"), Key("esc")}, ""},
		"keys mean text there":     {[]any{Key("/"), Key("q")}, ""},
		"nothing found, then down": {[]any{Key("/"), Key("z"), Key("enter"), Key("down")}, ""},
	} {
		m := base
		quit := false
		for _, k := range c.keys {
			if m, quit = m.Update(k); quit {
				t.Errorf("%s: it ends", name)
			}
		}
		switch got := names(m); {
		case strings.HasPrefix(name, "filter cleared"):
			if len(m.machines()) != 6 || m.filter != "" {
				t.Errorf("%s: %s", name, got)
			}
		case got != c.want:
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
	for _, k := range []Key{"q", "ctrl+c"} {
		if _, quit := base.Update(k); !quit {
			t.Errorf("%s does not end it", k)
		}
	}
	if _, quit := after(base, Key("/")).Update(Key("ctrl+c")); !quit {
		t.Error("ctrl+c does not end it while a filter is typed")
	}
	if m := after(base, Key("?"), Key("q")); m.help {
		t.Error("help stays")
	}
}

func TestSelectedMachineStaysSelectedAndOnTheScreen(t *testing.T) {
	m := after(large(100), Size{80, 24})
	for range 60 {
		m = after(m, Key("down"))
	}
	for name, msg := range map[string]any{"a small screen": Size{80, 12}, "a large one": Size{200, 80}, "another order": Key("s"), "details": Key("enter")} {
		next := after(m, msg)
		if next.selected != "hosta/vm-060" || !strings.Contains(text(next.View()), "> vm-060") {
			t.Errorf("%s:\n%s", name, text(next.View()))
		}
	}
	// It goes: the first is selected.
	st := *m.status
	st.Machines = st.Machines[:50]
	if m = after(m, Snapshot{noon, &st}); m.selected != "hosta/vm-000" || !strings.Contains(text(m.View()), "> vm-000") {
		t.Errorf("%s\n%s", m.selected, text(m.View()))
	}
}

func TestEventsAndRunsAreBounded(t *testing.T) {
	m := large(1)
	for i := range 3 * keptEvents {
		r := runsOf("vm-000", "hosta", time.Second)[0]
		r.ID, r.Began = fmt.Sprint(i), noon.Add(time.Duration(i)*time.Second)
		r.Ended = r.Began.Add(time.Second)
		m = after(m, News{api.Event{Event: api.EventRunBegan, Time: r.Began, Source: "hosta", Machine: "vm-000", Run: &r}},
			News{api.Event{Event: api.EventRunEnded, Time: r.Ended, Source: "hosta", Machine: "vm-000", Run: &r}})
	}
	if len(m.events) != keptEvents || len(m.runs["hosta/vm-000"]) != keptRuns {
		t.Errorf("%d events, %d runs", len(m.events), len(m.runs["hosta/vm-000"]))
	}
	if r := m.runs["hosta/vm-000"][0]; r.ID != fmt.Sprint(3*keptEvents-1) {
		t.Errorf("the newest run is %s", r.ID)
	}
}

func TestUpdateChangesNoModelButTheNext(t *testing.T) {
	m := after(small(), Size{80, 24})
	before := text(m.View())
	r := runsOf("db1", "hosta", time.Minute)[0]
	r.ID = "another"
	after(m, News{api.Event{Event: api.EventRunEnded, Time: noon, Source: "hosta", Machine: "db1", Run: &r}}, Key("s"), Key("down"))
	if now := text(m.View()); now != before {
		t.Errorf("was\n%sis\n%s", before, now)
	}
}

func TestOneMachineIsShownAlone(t *testing.T) {
	for only, want := range map[string]string{"db1": "[db1]", "hosta/db1": "[db1]", "hostb/db1": "", "nobody": ""} {
		m := after(New(only), Size{80, 24}, Snapshot{noon, small().status},
			News{api.Event{Event: api.EventResumed, Time: noon, Source: "hosta", Machine: "mail"}}, News{api.Event{Event: api.EventReloaded, Time: noon}})
		if got := names(m); got != want {
			t.Errorf("%s: %s", only, got)
		}
		if len(m.events) != 1 || m.events[0].Event != api.EventReloaded {
			t.Errorf("%s: %+v", only, m.events)
		}
	}
}

func TestAgesOfAReplicaAtTheEndsOfItsRuns(t *testing.T) {
	run := func(began, ended int, outcome history.Outcome, changed int64) history.Run {
		r := history.Run{Began: noon.Add(time.Duration(began) * time.Second), Outcome: outcome, Changed: changed}
		if outcome != history.Running {
			r.Ended = noon.Add(time.Duration(ended) * time.Second)
		}
		return r
	}
	runs := []history.Run{ // the newest first
		run(100, 0, history.Running, 0),
		run(80, 90, history.Succeeded, 1), // 90-40: what was unchanged made it fresh
		run(70, 75, history.Failed, 0),    // 75-40
		run(60, 61, history.Unchanged, 5), // too little, but something: not fresh
		run(40, 41, history.Unchanged, 0), // 41-10
		run(10, 20, history.Succeeded, 1), // 20-0
		run(0, 5, history.Succeeded, 1),   // no replica before
		run(-10, -5, history.Failed, 0),
	}
	want := []ui.Spark{{Part: 0.5}, {Part: 0.775}, {Part: 0.525}, {Part: 0.875, Failed: true}, {Part: 1.25}}
	got := ages(runs, 40*time.Second)
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got := ages(runs, 0); got != nil {
		t.Errorf("without a promise: %v", got)
	}
}

func TestEveryEventIsSaid(t *testing.T) {
	r := runsOf("vm1", "hosta", 3*time.Second, -1)
	killed := r[1]
	killed.Outcome, killed.Error = history.Killed, nil
	none := history.Run{Outcome: history.Unchanged, Changed: 1 << 20}
	for want, e := range map[string]api.Event{
		"vm1 sync begins (schedule)":                                        {Event: api.EventRunBegan, Run: &r[0]},
		"vm1 synced in 3.0 s: incremental, 64.0 MiB changed, 12.0 MiB sent": {Event: api.EventRunEnded, Run: &r[0]},
		"vm1 sync failed after 1.0 s: connect: no route to host":            {Event: api.EventRunEnded, Run: &r[1]},
		"vm1 sync killed after 1.0 s":                                       {Event: api.EventRunEnded, Run: &killed},
		"vm1 had 1.0 MiB changed: no new state":                             {Event: api.EventRunEnded, Run: &none},
		"vm1 is older than promised (2m1s / 2m)":                            {Event: api.EventHealth, Health: schedule.Broken, Age: 121, RPO: 120},
		"vm1 will be older than promised, as it looks (90s / 2m)":           {Event: api.EventHealth, Health: schedule.AtRisk, Age: 90, RPO: 120},
		"vm1 is as fresh as promised (3s / 2m)":                             {Event: api.EventHealth, Health: schedule.Healthy, Age: 3, RPO: 120},
		"vm1 is paused":                                                     {Event: api.EventPaused},
		`vm1 is paused: a\x1b[2J b`:                                         {Event: api.EventPaused, Reason: "a\x1b[2J\nb"},
		"vm1 goes on":                                                       {Event: api.EventResumed},
		"vm1 is replicated from now on":                                     {Event: api.EventMachineAdded},
		"vm1 is no longer replicated":                                       {Event: api.EventMachineGone},
		"vm1 run_ended":                                                     {Event: api.EventRunEnded},
		"vm1 of-a-later-release":                                            {Event: "of-a-later-release"},
	} {
		e.Source, e.Machine = "hosta", "vm1"
		if got := Line(e).Plain(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	for want, e := range map[string]api.Event{
		"hostb does not answer: gone":      {Event: api.EventSourceLost, Source: "hostb", Error: &history.RunError{Message: "gone"}},
		"hostb answers again":              {Event: api.EventSourceBack, Source: "hostb"},
		"the configuration was read again": {Event: api.EventReloaded},
		"the service ends":                 {Event: api.EventStopping},
		"7 events missed":                  {Event: api.EventMissed, Missed: 7},
	} {
		if got := Line(e).Plain(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
