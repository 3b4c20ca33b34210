package retention

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // the tests need Berlin wherever they run
)

// at reads times like "2026-11-21 07:03" or, with an offset, "2026-10-25 02:30 +0200".
func at(t *testing.T, texts ...string) []time.Time {
	t.Helper()
	var times []time.Time
	for _, s := range texts {
		when, err := time.Parse("2006-01-02 15:04 -0700", s)
		if err != nil {
			when, err = time.Parse("2006-01-02 15:04", s)
		}
		if err != nil {
			t.Fatal(err)
		}
		times = append(times, when)
	}
	return times
}

// shown writes a decision as one letter for each state, oldest first: K for keep.
func shown(keep []bool) string {
	var b strings.Builder
	for _, k := range keep {
		b.WriteByte(map[bool]byte{true: 'K', false: '.'}[k])
	}
	return b.String()
}

func parse(t *testing.T, text string) Policy {
	t.Helper()
	p, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestKeep(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	kathmandu, err := time.LoadLocation("Asia/Kathmandu") // 5:45 before UTC
	if err != nil {
		t.Fatal(err)
	}
	workday := []string{"2026-11-20 22:00", "2026-11-21 07:10", "2026-11-21 07:50", "2026-11-21 08:10", "2026-11-21 10:05", "2026-11-21 10:06"}
	for _, c := range []struct {
		name, policy string
		loc          *time.Location
		times        []string
		want         string
	}{
		{name: "no states", policy: "last=8,daily=7", want: ""},
		{name: "one state, kept by nothing", policy: "0", times: workday[:1], want: "K"},
		{name: "0 keeps the newest", policy: "0", times: workday, want: ".....K"},
		{name: "1 keeps the newest", policy: "1", times: workday, want: ".....K"},
		{name: "last", policy: "3", times: workday, want: "...KKK"},
		{name: "last, more than there are", policy: "300", times: workday, want: "KKKKKK"},
		{name: "newest of each hour", policy: "hourly=24", times: workday, want: "K.KK.K"},
		{name: "hours without a state don't count", policy: "hourly=3", times: workday, want: "..KK.K"},
		{name: "newest of each day", policy: "daily=7", times: workday, want: "K....K"},
		{name: "one state does for two rules", policy: "last=1,daily=1", times: workday, want: ".....K"},
		{name: "any rule keeps", policy: "last=2,hourly=2,daily=2", times: workday, want: "K..KKK"},

		{name: "midnight of UTC", policy: "daily=7",
			times: []string{"2026-11-20 22:59", "2026-11-20 23:59", "2026-11-21 00:00"}, want: ".KK"},
		{name: "midnight of Berlin", policy: "daily=7", loc: berlin,
			times: []string{"2026-11-20 22:59", "2026-11-20 23:59", "2026-11-21 00:00"}, want: "K.K"},
		{name: "hour of a zone with minutes", policy: "hourly=7", loc: kathmandu,
			times: []string{"2026-11-20 10:05", "2026-11-20 10:10", "2026-11-20 10:20"}, want: ".KK"},

		{name: "summer time ends: two hours of one name", policy: "hourly=24", loc: berlin,
			times: []string{"2026-10-25 02:10 +0200", "2026-10-25 02:50 +0200", "2026-10-25 02:10 +0100", "2026-10-25 02:50 +0100", "2026-10-25 03:10 +0100"}, want: ".K.KK"},
		{name: "summer time ends: one day of 25 hours", policy: "daily=2", loc: berlin,
			times: []string{"2026-10-24 23:59 +0200", "2026-10-25 00:00 +0200", "2026-10-25 23:59 +0100"}, want: "K.K"},
		{name: "summer time begins: an hour that is not there", policy: "hourly=2", loc: berlin,
			times: []string{"2026-03-29 01:10 +0100", "2026-03-29 01:50 +0100", "2026-03-29 03:10 +0200"}, want: ".KK"},
		{name: "the times' own zones don't matter", policy: "daily=7",
			times: []string{"2026-11-21 23:30 +0100", "2026-11-22 00:30 +0100", "2026-11-22 01:30 +0100"}, want: ".KK"},

		// 2026-12-28 is a Monday: the first week of 2027 would begin on 2027-01-04.
		{name: "week 53 goes on in the new year", policy: "weekly=9",
			times: []string{"2026-12-27 12:00", "2026-12-28 12:00", "2026-12-31 12:00", "2027-01-01 12:00", "2027-01-03 12:00", "2027-01-04 12:00"}, want: "K...KK"},
		// 2024-12-30 is a Monday, and of the first week of 2025.
		{name: "week 1 begins in the old year", policy: "weekly=9",
			times: []string{"2024-01-01 12:00", "2024-12-29 12:00", "2024-12-30 12:00", "2025-01-01 12:00"}, want: "KK.K"},
		{name: "months and years go by the calendar", policy: "monthly=2,yearly=2",
			times: []string{"2025-11-30 12:00", "2025-12-31 23:59", "2026-11-01 00:00", "2026-11-30 23:59", "2026-12-01 00:00"}, want: ".K.KK"},
		{name: "the same month of two years", policy: "monthly=9",
			times: []string{"2025-12-01 00:00", "2026-12-01 00:00"}, want: "KK"},
		{name: "the same day of two years", policy: "daily=9",
			times: []string{"2025-12-01 00:00", "2026-12-01 00:00"}, want: "KK"},

		{name: "several in one second", policy: "hourly=24",
			times: []string{"2026-11-21 07:00", "2026-11-21 07:00", "2026-11-21 07:00"}, want: "..K"},
		{name: "several in one second, last", policy: "2",
			times: []string{"2026-11-21 07:00", "2026-11-21 07:00", "2026-11-21 07:00"}, want: ".KK"},
		{name: "clock set back: the list's order counts", policy: "hourly=24",
			times: []string{"2026-11-21 07:00", "2026-11-21 09:00", "2026-11-21 07:30", "2026-11-21 07:40"}, want: ".K.K"},
		{name: "clock set back by years", policy: "last=2,daily=2",
			times: []string{"2026-11-21 07:00", "2026-11-22 07:00", "1970-01-01 00:00", "1970-01-01 01:00"}, want: ".KKK"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := shown(parse(t, c.policy).Keep(at(t, c.times...), c.loc)); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

// TestGridOverAYear keeps what one expects of 300 states, one every 29 hours.
func TestGridOverAYear(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 30, 0, 0, time.UTC)
	var times []time.Time
	for i := range 300 {
		times = append(times, start.Add(time.Duration(i)*29*time.Hour))
	}
	var days []string
	for i, k := range parse(t, "last=2,daily=5,weekly=4,monthly=12,yearly=2").Keep(times, nil) {
		if k {
			days = append(days, times[i].Format("0102"))
		}
	}
	// The newest is of 28 December, a Monday.
	want := []string{"0131", "0228", "0331", "0430", "0530", "0630", "0731", "0831", "0929", "1031", "1130",
		"1213", "1219", "1223", "1224", "1225", "1227", "1228"}
	if !slices.Equal(days, want) {
		t.Errorf("got %q, want %q", days, want)
	}
}

// apply prunes: it returns the times that a policy keeps.
func apply(p Policy, times []time.Time, loc *time.Location) []time.Time {
	var kept []time.Time
	for i, k := range p.Keep(times, loc) {
		if k {
			kept = append(kept, times[i])
		}
	}
	return kept
}

// TestPruningNowAndThenKeepsWhatPruningAtTheEndKeeps tries random policies on random
// lives of a replica, with clocks that jump.
func TestPruningNowAndThenKeepsWhatPruningAtTheEndKeeps(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	for seed := range uint64(2000) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		some := func() int { return max(0, rnd.IntN(8)-3) }
		p := Policy{Last: some(), Hourly: some(), Daily: some(), Weekly: some(), Monthly: some(), Yearly: some()}
		loc := []*time.Location{nil, time.UTC, berlin}[rnd.IntN(3)]
		now := time.Date(2026, 10, 20, 0, 0, 0, 0, time.UTC)
		step := []time.Duration{10 * time.Minute, 5 * time.Hour, 3 * 24 * time.Hour, 40 * 24 * time.Hour}[rnd.IntN(4)]
		name := fmt.Sprintf("seed %d, policy %s, in %v", seed, p, loc)

		var all, pruned []time.Time
		for range 1 + rnd.IntN(150) {
			switch rnd.IntN(20) {
			case 0:
				now = now.Add(-time.Duration(rnd.Int64N(int64(10 * step)))) // set back
			case 1: // a second state in the same instant
			default:
				now = now.Add(time.Duration(rnd.Int64N(int64(2 * step))))
			}
			all, pruned = append(all, now), append(pruned, now)
			if rnd.IntN(4) > 0 {
				pruned = apply(p, pruned, loc)
			}
			if !pruned[len(pruned)-1].Equal(now) {
				t.Fatalf("%s: the newest state is gone", name)
			}
		}
		once, bitByBit := apply(p, all, loc), apply(p, pruned, loc)
		if !slices.Equal(once, bitByBit) {
			t.Fatalf("%s: at once\n%v\nbit by bit\n%v", name, once, bitByBit)
		}
		if twice := apply(p, once, loc); !slices.Equal(once, twice) {
			t.Fatalf("%s: once\n%v\ntwice\n%v", name, once, twice)
		}
	}
}
