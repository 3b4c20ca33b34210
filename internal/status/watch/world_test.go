package watch

import (
	"fmt"
	"strings"
	"time"

	"vmsync/internal/api"
	"vmsync/internal/history"
	"vmsync/internal/schedule"
	"vmsync/internal/ui"
)

// noon is the moment at which the tests' screens are looked at.
var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func ago(d time.Duration) time.Time { return noon.Add(-d) }

// standing makes a machine whose replica is so old, and which has been synced each minute.
func standing(name, source string, age time.Duration, health api.Health, doing api.Doing) api.Machine {
	seconds, states, size := age.Seconds(), 3, int64(5<<30)
	return api.Machine{Name: name, Source: source, TargetDomain: name, Store: "/var/lib/vmsync", Schedule: "every 1m", Role: "replica", States: &states, Size: &size,
		Health: health, Doing: doing, Fresh: ago(age), Age: &seconds, RPO: 120, Next: noon.Add(40 * time.Second),
		Last: &history.Run{ID: name + "-0", Machine: source + "/" + name, Source: source, Domain: name, Trigger: "schedule", Began: ago(age), Ended: ago(age - 3*time.Second),
			Outcome: history.Succeeded, State: "2026-11-22T115900Z", Kind: "incremental", Changed: 64 << 20, Sent: 12 << 20, Transfer: 1}}
}

// runsOf are the past runs of a machine, one each minute, each taking so long.
func runsOf(name, source string, took ...time.Duration) (all []history.Run) {
	for i, d := range took {
		began := ago(time.Duration(i+1) * time.Minute)
		r := history.Run{ID: fmt.Sprint(name, "-", i), Machine: history.Key(source, name), Source: source, Domain: name, Trigger: "schedule", Began: began, Ended: began.Add(d),
			Outcome: history.Succeeded, State: "2026-11-22T115900Z", Kind: "incremental", Changed: 64 << 20, Sent: 12 << 20}
		if d < 0 {
			r.Ended, r.Outcome, r.Error = began.Add(time.Second), history.Failed, &history.RunError{Kind: "unreachable", Message: "connect: no route to host"}
			r.State, r.Kind, r.Changed, r.Sent = "", "", 0, 0
		}
		all = append(all, r)
	}
	return all
}

// small is a fleet with one machine of every kind.
func small() Model {
	db, web, mail := standing("db1", "hosta", 30*time.Second, schedule.Healthy, api.Syncing), standing("web-frontend-1", "hosta", 45*time.Second, schedule.Healthy, api.Idle),
		standing("mail", "hosta", 110*time.Second, schedule.AtRisk, api.Syncing)
	db.Running = &api.Running{ID: "r1", Trigger: "schedule", Began: ago(20 * time.Second), Phase: "transfer", Done: 430 << 20, Total: 1 << 30, PerSecond: 12 << 20, Sent: 100 << 20}
	mail.Running = &api.Running{ID: "r2", Trigger: "schedule", Began: ago(4 * time.Second), Phase: "connect"}
	gone, off, fresh := standing("archive", "hostb", 5*time.Minute, schedule.Broken, api.Held), standing("build", "hosta", 100*time.Minute, api.Paused, api.Resting),
		standing("new\x1b[2J\u202e", "hosta", 0, schedule.Broken, api.Waiting)
	gone.Error, gone.Failures, gone.Next = &history.RunError{Kind: "unreachable", Message: "connect to hostb: no route to host", Hint: "see whether the host runs, and try: ssh root@hostb"}, 3, time.Time{}
	off.Paused = &history.Pause{Since: ago(100 * time.Minute), Reason: "work on the roof"}
	fresh.Age, fresh.Last, fresh.States, fresh.Size, fresh.Role, fresh.Fresh = nil, nil, nil, nil, "", time.Time{}
	st := &api.Status{Version: "1.0", Since: ago(time.Hour), Sources: []api.Source{{Name: "hosta", Listed: noon}, {Name: "hostb", Error: "no route to host"}},
		Machines: []api.Machine{gone, off, db, mail, fresh, web}}
	var past []history.Run
	past = append(past, runsOf("archive", "hostb", -1, -1, -1, 3*time.Second, 4*time.Second, 50*time.Second, 3*time.Second)...)
	past = append(past, runsOf("db1", "hosta", 3*time.Second, 20*time.Second, 40*time.Second, 59*time.Second, 30*time.Second, 2*time.Second, 2*time.Second, 2*time.Second)...)
	past = append(past, runsOf("web-frontend-1", "hosta", 3*time.Second, 3*time.Second, 3*time.Second, 3*time.Second)...)
	past = append(past, runsOf("mail", "hosta", 50*time.Second, 61*time.Second, 70*time.Second, 59*time.Second, 30*time.Second)...)
	m := after(New(""), Snapshot{noon, st}, Past{past})
	for _, e := range []api.Event{
		{Event: api.EventRunBegan, Time: ago(2 * time.Minute), Source: "hosta", Machine: "db1", Run: &past[9]},
		{Event: api.EventRunEnded, Time: ago(100 * time.Second), Source: "hosta", Machine: "db1", Run: &past[8]},
		{Event: api.EventSourceLost, Time: ago(90 * time.Second), Source: "hostb", Error: &history.RunError{Message: "no route to\nhost"}},
		{Event: api.EventHealth, Time: ago(50 * time.Second), Source: "hostb", Machine: "archive", Health: schedule.Broken, Before: schedule.AtRisk, Age: 121, RPO: 120},
		{Event: api.EventRunEnded, Time: ago(40 * time.Second), Source: "hostb", Machine: "archive", Run: &past[0]},
		{Event: api.EventHealth, Time: ago(30 * time.Second), Source: "hosta", Machine: "db1", Health: schedule.Healthy, Before: schedule.Broken, Age: 3, RPO: 120},
	} {
		m = after(m, News{e})
	}
	return m
}

// large is a fleet of so many machines.
func large(n int) Model {
	st := &api.Status{Version: "1.0"}
	for i := range n {
		st.Machines = append(st.Machines, standing(fmt.Sprintf("vm-%03d", i), "hosta", time.Duration(i)*time.Second, schedule.Healthy, api.Idle))
	}
	return after(New(""), Snapshot{noon, st})
}

// after is a model after messages.
func after(m Model, messages ...any) Model {
	for _, msg := range messages {
		m, _ = m.Update(msg)
	}
	return m
}

// text is a screen as it would be read without colours.
func text(lines []ui.Line) string {
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(l.Plain() + "\n")
	}
	return b.String()
}
