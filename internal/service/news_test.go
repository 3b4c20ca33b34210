package service

import (
	"errors"
	"slices"
	"testing"
	"time"

	"vmsync/internal/config"
	"vmsync/internal/history"
	"vmsync/internal/schedule"
	"vmsync/replicator"
)

var dawn = time.Date(2026, 3, 1, 6, 0, 0, 0, time.UTC)

func failure(kind string) *history.RunError {
	return &history.RunError{Kind: kind, Message: "it is so", Hint: "do something"}
}

func TestWhatIsTold(t *testing.T) {
	later := dawn.Add(time.Hour)
	well := condition{replica: true, tried: later}
	broken := condition{replica: true, broken: later, tried: dawn}
	failed := condition{replica: true, failing: true, failed: later, err: failure(replicator.KindNoSpace), tried: dawn}
	with := func(c condition, f func(*condition)) condition { f(&c); return c }
	toldBroken := history.Told{Broken: dawn}
	toldFailed := history.Told{Failed: dawn, Kinds: []string{replicator.KindNoSpace}, Tried: dawn}
	both := history.Told{Broken: dawn, Failed: dawn, Kinds: []string{replicator.KindNoSpace}, Tried: dawn}
	for name, c := range map[string]struct {
		told history.Told
		now  condition
		want []config.Event
		then history.Told
	}{
		"all is well":             {history.Told{}, well, nil, history.Told{}},
		"breach":                  {history.Told{}, broken, []config.Event{config.RPOBroken}, history.Told{Broken: later}},
		"breach goes on":          {toldBroken, broken, nil, toldBroken},
		"no replica in time":      {history.Told{}, with(broken, func(c *condition) { c.replica = false }), []config.Event{config.RPOBroken}, history.Told{Broken: later}},
		"first sync begins, late": {toldBroken, condition{}, nil, toldBroken},
		"failure":                 {history.Told{}, failed, []config.Event{config.Failed}, history.Told{Failed: later, Kinds: []string{replicator.KindNoSpace}, Tried: dawn}},
		"failure goes on":         {toldFailed, failed, nil, toldFailed},
		"another failure": {toldFailed, with(failed, func(c *condition) { c.err = failure(replicator.KindDomainOff) }), []config.Event{config.Failed},
			history.Told{Failed: dawn, Kinds: []string{replicator.KindNoSpace, replicator.KindDomainOff}, Tried: dawn}},
		"the first failure again": {history.Told{Failed: dawn, Kinds: []string{replicator.KindNoSpace, replicator.KindDomainOff}, Tried: dawn}, failed, nil,
			history.Told{Failed: dawn, Kinds: []string{replicator.KindNoSpace, replicator.KindDomainOff}, Tried: dawn}},
		"a link that is cut, told by another error": {history.Told{Failed: dawn, Kinds: []string{replicator.KindUnreachable}, Tried: dawn},
			with(failed, func(c *condition) { c.err = failure(replicator.KindAgentLost) }), nil, history.Told{Failed: dawn, Kinds: []string{replicator.KindUnreachable}, Tried: dawn}},
		"failure that is nobody's business": {history.Told{}, with(failed, func(c *condition) { c.failed = time.Time{} }), nil, history.Told{}},
		"breach and failure": {history.Told{}, with(failed, func(c *condition) { c.broken = later }), []config.Event{config.RPOBroken, config.Failed},
			history.Told{Broken: later, Failed: later, Kinds: []string{replicator.KindNoSpace}, Tried: dawn}},
		"breach after a failure":               {toldFailed, with(failed, func(c *condition) { c.broken = later }), []config.Event{config.RPOBroken}, history.Told{Broken: later, Failed: dawn, Kinds: []string{replicator.KindNoSpace}, Tried: dawn}},
		"recovered from a breach":              {toldBroken, well, []config.Event{config.Recovered}, history.Told{}},
		"recovered from a failure":             {toldFailed, well, []config.Event{config.Recovered}, history.Told{}},
		"recovered from both":                  {both, well, []config.Event{config.Recovered}, history.Told{}},
		"synced, but too slowly":               {both, broken, nil, both},
		"fresh, but failing":                   {toldBroken, with(failed, func(c *condition) { c.failed = time.Time{} }), nil, toldBroken},
		"the source is back, nothing was done": {toldFailed, condition{replica: true, tried: dawn}, nil, toldFailed},
		"paused, broken":                       {history.Told{}, with(broken, func(c *condition) { c.paused = true }), nil, history.Told{}},
		"paused, failing":                      {history.Told{}, with(failed, func(c *condition) { c.paused = true }), nil, history.Told{}},
		"paused after it was told":             {both, with(well, func(c *condition) { c.paused = true }), nil, both},
	} {
		events, then := changes(c.told, c.now)
		if !slices.Equal(events, c.want) || !then.Broken.Equal(c.then.Broken) || !then.Failed.Equal(c.then.Failed) || !then.Tried.Equal(c.then.Tried) || !slices.Equal(then.Kinds, c.then.Kinds) {
			t.Errorf("%s: %v, then %+v; want %v, then %+v", name, events, then, c.want, c.then)
		}
		if again, _ := changes(then, c.now); len(again) > 0 {
			t.Errorf("%s: told again: %v", name, again)
		}
	}
}

func TestHowAMachineStandsForThoseWhoAreTold(t *testing.T) {
	now, rpo := dawn, 30*time.Minute
	gone := errors.New("no route to host")
	ended := func(o history.Outcome, kind string) *history.Run {
		return &history.Run{Outcome: o, Began: dawn.Add(-2 * time.Minute), Ended: dawn.Add(-time.Minute), Error: failure(kind)}
	}
	fresh, old := dawn.Add(-10*time.Minute), dawn.Add(-31*time.Minute)
	type want struct {
		broken, failed time.Duration // since when, before now; 0: not
		failing        bool
		kind           string
	}
	for name, c := range map[string]struct {
		m    machine
		due  time.Time
		lost time.Time // zero: the source answers
		want want
	}{
		"well":                          {m: machine{record: history.Machine{Fresh: fresh}}, due: dawn.Add(time.Minute)},
		"too old":                       {m: machine{record: history.Machine{Fresh: old}}, due: dawn.Add(time.Minute), want: want{broken: time.Minute}},
		"too old, being synced":         {m: machine{record: history.Machine{Fresh: old}, run: &run{}}, want: want{broken: time.Minute}},
		"new":                           {m: machine{since: dawn.Add(-59 * time.Minute)}},
		"without a replica for long":    {m: machine{since: dawn.Add(-61 * time.Minute)}, want: want{broken: time.Minute}},
		"first sync takes long":         {m: machine{since: dawn.Add(-61 * time.Minute), run: &run{}}},
		"failed":                        {m: machine{record: history.Machine{Fresh: fresh, Failures: 1}, last: ended(history.Failed, replicator.KindNoSpace)}, want: want{failed: 2 * time.Minute, failing: true, kind: replicator.KindNoSpace}},
		"busy":                          {m: machine{record: history.Machine{Fresh: fresh, Failures: 1}, last: ended(history.Failed, replicator.KindBusy)}, want: want{failing: true, kind: replicator.KindBusy}},
		"the service died":              {m: machine{record: history.Machine{Fresh: fresh, Failures: 1}, last: ended(history.Killed, "")}, want: want{failing: true}},
		"given up":                      {m: machine{record: history.Machine{Fresh: fresh}, last: ended(history.Aborted, replicator.KindCanceled)}},
		"stored, with an error":         {m: machine{record: history.Machine{Fresh: fresh}, last: ended(history.Succeeded, replicator.KindDefine)}},
		"source gone, nothing is due":   {m: machine{record: history.Machine{Fresh: fresh}}, due: dawn.Add(time.Second), lost: dawn.Add(-time.Minute)},
		"source gone for long, due":     {m: machine{record: history.Machine{Fresh: fresh}}, due: dawn.Add(-time.Minute), lost: dawn.Add(-30 * time.Second), want: want{failed: 30 * time.Second, failing: true, kind: replicator.KindOther}},
		"source just gone, due":         {m: machine{record: history.Machine{Fresh: fresh}}, due: dawn.Add(-time.Minute), lost: dawn.Add(-29 * time.Second)},
		"source gone for long, due now": {m: machine{record: history.Machine{Fresh: fresh}}, due: dawn.Add(-29 * time.Second), lost: dawn.Add(-time.Hour)},
	} {
		v := view{rule: schedule.Rule{RPO: rpo}, past: pastOf(&c.m.record, c.m.last, now), due: c.due}
		err := error(nil)
		if !c.lost.IsZero() {
			err = gone
		}
		got := conditionOf(&c.m, &v, c.lost, err, 30*time.Second, now)
		var have want
		have.failing = got.failing
		if !got.broken.IsZero() {
			have.broken = now.Sub(got.broken)
		}
		if !got.failed.IsZero() {
			have.failed = now.Sub(got.failed)
		}
		if got.err != nil {
			have.kind = got.err.Kind
		}
		if have != c.want {
			t.Errorf("%s: %+v, want %+v", name, have, c.want)
		}
	}
}

func TestReasonThatIsGiven(t *testing.T) {
	away, err := failure(replicator.KindUnreachable), failure(replicator.KindNoSpace)
	for name, c := range map[string]struct {
		event config.Event
		now   condition
		want  *history.RunError
	}{
		"breach, as the source is away": {config.RPOBroken, condition{away: away, err: err}, away},
		"breach, as runs fail":          {config.RPOBroken, condition{err: err}, err},
		"breach, nobody knows why":      {config.RPOBroken, condition{}, nil},
		"a run failed, now it is away":  {config.Failed, condition{away: away, err: err}, err},
		"it is over":                    {config.Recovered, condition{}, nil},
	} {
		n := newsOf(c.event, &machine{policy: config.Policy{Domain: "vm1"}}, &view{rule: schedule.Rule{RPO: aeon}}, &c.now, &history.Told{}, dawn)
		if n.Error != c.want || n.RPO != 0 || (n.Hint == "") != (c.event == config.Recovered) || c.want != nil && n.Hint != c.want.Hint {
			t.Errorf("%s: %+v", name, n)
		}
	}
}
