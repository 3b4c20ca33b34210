package history

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func open(t *testing.T, path string, limits Limits) (*History, []Run) {
	t.Helper()
	h, killed, err := Open(path, limits)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h, killed
}

var roomy = Limits{Runs: 1 << 20, Age: 100 * 365 * 24 * time.Hour}

func file(t *testing.T) string { return filepath.Join(t.TempDir(), "deep", "history.db") }

// run makes the n-th run of a machine, which begins n minutes after noon.
func run(n int, outcome Outcome) Run {
	r := Run{ID: fmt.Sprintf("%08d", n), Machine: Key("east", "vm1"), Source: "east", Domain: "vm1", Trigger: "schedule",
		Began: noon.Add(time.Duration(n) * time.Minute), Outcome: outcome}
	if outcome != Running {
		r.Ended = r.Began.Add(time.Duration(n) * time.Second)
	}
	return r
}

func play(t *testing.T, h *History, runs ...Run) {
	t.Helper()
	for _, r := range runs {
		if err := h.Begin(r); err != nil {
			t.Fatal(err)
		}
		if r.Outcome == Running {
			continue
		}
		if err := h.End(r); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRunsAreKept(t *testing.T) {
	path := file(t)
	h, _ := open(t, path, roomy)
	h.now = func() time.Time { return noon.Add(time.Hour) }
	full := run(1, Succeeded)
	full.State, full.Kind, full.Consistency, full.Changed, full.Zero, full.Sent, full.Frozen = "2026-03-01T120100Z", "full", "filesystem", 3, 2, 1, 0.25
	failed := run(2, Failed)
	failed.Error = &RunError{Kind: "no-space", Disk: "vda", Message: "no space left", Hint: "free some"}
	play(t, h, full, failed, run(3, Aborted))
	other := run(4, Succeeded)
	other.Machine, other.Domain = Key("east", "vm10"), "vm10"
	play(t, h, other)
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	h, killed := open(t, path, roomy)
	if len(killed) != 0 {
		t.Errorf("killed: %+v", killed)
	}
	got, err := h.Runs(t.Context(), Key("east", "vm1"), 100)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Run{run(3, Aborted), failed, full}, got); diff != "" {
		t.Error(diff)
	}
	if got, _ := h.Runs(t.Context(), Key("east", "vm1"), 1); len(got) != 1 || got[0].ID != run(3, "").ID {
		t.Errorf("the newest: %+v", got)
	}
	if got, err := h.Runs(t.Context(), Key("west", "vm1"), 1); len(got) != 0 || err != nil {
		t.Errorf("of a machine without runs: %+v, %v", got, err)
	}
}

func TestWhatFollowsFromRuns(t *testing.T) {
	unchanged, little := run(5, Unchanged), run(5, Unchanged)
	little.Changed = 4096
	at := func(n int) time.Time { return run(n, Running).Began }
	took := []time.Duration{time.Second, 2 * time.Second}
	for name, c := range map[string]struct {
		runs []Run
		want Machine
	}{
		"none": {nil, Machine{}},
		"two":  {[]Run{run(1, Succeeded), run(2, Succeeded)}, Machine{Fresh: at(2), Tried: at(2), Took: took}},
		"failures": {[]Run{run(1, Succeeded), run(2, Succeeded), run(3, Failed), run(4, Killed)},
			Machine{Fresh: at(2), Tried: at(2), Took: took, Failures: 2, Failed: run(4, Killed).Ended}},
		"success after failures": {[]Run{run(1, Succeeded), run(1, Failed), run(2, Succeeded)}, Machine{Fresh: at(2), Tried: at(2), Took: took}},
		"aborted":                {[]Run{run(1, Succeeded), run(2, Succeeded), run(3, Aborted)}, Machine{Fresh: at(2), Tried: at(2), Took: took}},
		"nothing changed":        {[]Run{run(1, Succeeded), run(2, Succeeded), run(3, Failed), unchanged}, Machine{Fresh: at(5), Tried: at(5), Took: took}},
		"little changed":         {[]Run{run(1, Succeeded), run(2, Succeeded), run(3, Failed), little}, Machine{Fresh: at(2), Tried: at(5), Took: took}},
		"still runs":             {[]Run{run(1, Succeeded), run(2, Succeeded), run(3, Running)}, Machine{Fresh: at(2), Tried: at(2), Took: took}},
	} {
		h, _ := open(t, file(t), roomy)
		play(t, h, c.runs...)
		got, err := h.Machine(Key("east", "vm1"))
		if err != nil {
			t.Fatal(err)
		}
		c.want.Key = "east/vm1"
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	h, _ := open(t, file(t), roomy)
	for n := range 3 * Remembered {
		play(t, h, run(n, Succeeded))
	}
	m, err := h.Machine(Key("east", "vm1"))
	if err != nil || len(m.Took) != Remembered || m.Took[Remembered-1] != (3*Remembered-1)*time.Second {
		t.Errorf("%v %v", m.Took, err)
	}
}

func TestOldRunsGo(t *testing.T) {
	ids := func(h *History) (ids []string) {
		runs, err := h.Runs(t.Context(), Key("east", "vm1"), 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range runs {
			ids = append(ids, r.ID)
		}
		return ids
	}
	h, _ := open(t, file(t), Limits{Runs: 3, Age: 1000 * time.Hour})
	h.now = func() time.Time { return noon.Add(time.Hour) }
	for n := range 9 {
		play(t, h, run(n, Succeeded))
	}
	if diff := cmp.Diff([]string{run(8, "").ID, run(7, "").ID, run(6, "").ID}, ids(h)); diff != "" {
		t.Errorf("by number: %s", diff)
	}
	h, _ = open(t, file(t), Limits{Runs: 1000, Age: 150 * time.Second})
	h.now = func() time.Time { return run(8, "").Began }
	for n := range 9 {
		play(t, h, run(n, Succeeded))
	}
	if diff := cmp.Diff([]string{run(8, "").ID, run(7, "").ID, run(6, "").ID}, ids(h)); diff != "" {
		t.Errorf("by age: %s", diff)
	}
	h.now = func() time.Time { return noon.AddDate(10, 0, 0) }
	play(t, h, run(9, Failed))
	if diff := cmp.Diff([]string{run(9, "").ID}, ids(h)); diff != "" {
		t.Errorf("the newest stays: %s", diff)
	}
}

func TestPause(t *testing.T) {
	path := file(t)
	h, _ := open(t, path, roomy)
	play(t, h, run(1, Succeeded))
	p := &Pause{Since: noon, Reason: "maintenance"}
	if err := h.Pause(Key("east", "vm1"), p); err != nil {
		t.Fatal(err)
	}
	play(t, h, run(2, Failed))
	h.Close()
	h, _ = open(t, path, roomy)
	m, err := h.Machine(Key("east", "vm1"))
	if err != nil || m.Failures != 1 || !cmp.Equal(m.Paused, p) {
		t.Errorf("%+v %v", m, err)
	}
	if err := h.Pause(Key("east", "vm1"), nil); err != nil {
		t.Fatal(err)
	}
	if m, err := h.Machine(Key("east", "vm1")); err != nil || m.Paused != nil || m.Failures != 1 {
		t.Errorf("%+v %v", m, err)
	}
}

// A process that is killed while it writes leaves all that it had ended, and its last run as
// killed.
func TestKilledRunIsKnownAsKilled(t *testing.T) {
	if path := os.Getenv("HISTORY_TEST_FILE"); path != "" {
		h, _, err := Open(path, roomy)
		if err != nil {
			t.Fatal(err)
		}
		for n := 1; ; n++ {
			if err := h.Begin(run(n, Running)); err != nil {
				t.Fatal(err)
			}
			fmt.Printf("begun %d\n", n)
			if err := h.End(run(n, Succeeded)); err != nil {
				t.Fatal(err)
			}
		}
	}
	path := file(t)
	child := exec.Command(os.Args[0], "-test.run", "^TestKilledRunIsKnownAsKilled$")
	child.Env = append(os.Environ(), "HISTORY_TEST_FILE="+path)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	last := 0
	for last < 20 {
		if _, err := fmt.Fscanf(out, "begun %d\n", &last); err != nil {
			t.Fatal(err)
		}
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for { // what it told before it died
		var n int
		if _, err := fmt.Fscanf(out, "begun %d\n", &n); err != nil {
			break
		}
		last = n
	}
	_ = child.Wait() // killed
	h, killed := open(t, path, roomy)
	runs, err := h.Runs(t.Context(), Key("east", "vm1"), 1<<30)
	if err != nil || len(runs) < last {
		t.Fatalf("%d runs of %d: %v", len(runs), last, err)
	}
	for i, r := range runs {
		n := len(runs) - i
		switch {
		case i == 0 && r.Outcome == Killed:
			if len(killed) != 1 || killed[0].ID != r.ID || r.Ended.IsZero() {
				t.Errorf("buried %+v, kept %+v", killed, r)
			}
		case !cmp.Equal(r, run(n, Succeeded)):
			t.Fatalf("run %d of %d: %+v", n, len(runs), r)
		}
	}
	// It stays as it was found.
	h.Close()
	if _, again := open(t, path, roomy); len(again) != 0 {
		t.Errorf("buried again: %+v", again)
	}
}

func TestFilesThatAreRefused(t *testing.T) {
	path := file(t)
	h, _ := open(t, path, roomy)
	if _, _, err := Open(path, roomy); !errors.Is(err, ErrBusy) {
		t.Errorf("a second process: %v", err)
	}
	if err := h.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(metaBucket).Put(versionKey, []byte("2")) }); err != nil {
		t.Fatal(err)
	}
	h.Close()
	if _, _, err := Open(path, roomy); !errors.Is(err, ErrVersion) {
		t.Errorf("a later version: %v", err)
	}
	foreign := filepath.Join(t.TempDir(), "foreign.db")
	db, err := bbolt.Open(foreign, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(func(tx *bbolt.Tx) error { _, err := tx.CreateBucket([]byte("theirs")); return err }); err != nil {
		t.Fatal(err)
	}
	db.Close()
	before, _ := os.ReadFile(foreign)
	if _, _, err := Open(foreign, roomy); !errors.Is(err, ErrVersion) {
		t.Errorf("another program's: %v", err)
	}
	if after, _ := os.ReadFile(foreign); string(after) != string(before) {
		t.Error("another program's database was changed")
	}
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("this is no database, but long enough to have a header\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Open(text, roomy); err == nil {
		t.Error("a text file was opened")
	}
	anew, _, aside, err := OpenAnyway(text, roomy)
	if err != nil || aside != text+".damaged" {
		t.Fatalf("%q, %v", aside, err)
	}
	anew.Close()
	if old, err := os.ReadFile(aside); err != nil || string(old[:4]) != "this" {
		t.Errorf("what was put aside is %q, %v", old, err)
	}
	for _, path := range []string{path, foreign} {
		if _, _, aside, err := OpenAnyway(path, roomy); !errors.Is(err, ErrVersion) || aside != "" {
			t.Errorf("another release's: %q, %v", aside, err)
		}
	}
	h, _ = open(t, file(t), roomy)
	if err := h.End(run(1, Running)); err == nil {
		t.Error("a run that has not ended was ended")
	}
}

func TestMachinesAreKnown(t *testing.T) {
	h, _ := open(t, file(t), roomy)
	if all, err := h.Machines(); err != nil || len(all) != 0 {
		t.Errorf("of an empty file: %+v, %v", all, err)
	}
	play(t, h, run(1, Succeeded))
	if err := h.Pause(Key("east", "vm0"), &Pause{Since: noon, Reason: "moved"}); err != nil {
		t.Fatal(err)
	}
	all, err := h.Machines()
	if err != nil || len(all) != 2 || all[0].Key != "east/vm0" || all[0].Paused == nil || all[1].Key != "east/vm1" || len(all[1].Took) != 1 {
		t.Errorf("%+v, %v", all, err)
	}
}

func TestLookKeepsAReplicaFreshAndForgetsNoFailureSince(t *testing.T) {
	h, _ := open(t, file(t), roomy)
	key := Key("east", "vm1")
	failed := run(30, Failed) // it ends half a minute later
	play(t, h, run(1, Succeeded), failed)
	saw := func(minute int) Machine {
		t.Helper()
		if err := h.Saw(map[string]time.Time{key: noon.Add(time.Duration(minute) * time.Minute), Key("east", "other"): noon}); err != nil {
			t.Fatal(err)
		}
		m, err := h.Machine(key)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	if m := saw(20); m.Failures != 1 || !m.Fresh.Equal(noon.Add(20*time.Minute)) || !m.Tried.Equal(m.Fresh) || len(m.Took) != 1 {
		t.Errorf("a look before the failure: %+v", m)
	}
	if m := saw(40); m.Failures != 0 || !m.Fresh.Equal(noon.Add(40*time.Minute)) {
		t.Errorf("a look after it: %+v", m)
	}
	if m := saw(35); !m.Fresh.Equal(noon.Add(40 * time.Minute)) {
		t.Errorf("an older look: %+v", m)
	}
}
