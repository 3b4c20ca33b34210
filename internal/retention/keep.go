package retention

import "time"

// Keep decides about the states of a replica, given by their times, oldest first.
// The order is that of the list alone: a clock that was set back makes a later
// state no older one. Calendar units are those of loc, or UTC where loc is nil. The
// result has an entry for each state, true for one to keep; the last, the newest
// state, is always kept.
//
// A state is kept if any rule keeps it. Last keeps the so many newest. Each other
// rule goes from the newest state to the oldest and keeps the first that it finds
// in each calendar unit, until it has kept its number. Units without a state don't
// count, so a replica that was not synced for a month loses nothing by that.
func (p Policy) Keep(times []time.Time, loc *time.Location) []bool {
	if loc == nil {
		loc = time.UTC
	}
	keep := make([]bool, len(times))
	for i := range times {
		keep[i] = i == len(times)-1 || len(times)-i <= p.Last
	}
	for _, r := range []struct {
		n    int
		unit func(time.Time) unit
	}{{p.Hourly, hour}, {p.Daily, day}, {p.Weekly, week}, {p.Monthly, month}, {p.Yearly, year}} {
		seen := map[unit]bool{}
		for i := len(times) - 1; i >= 0 && len(seen) < r.n; i-- {
			if u := r.unit(times[i].In(loc)); !seen[u] {
				seen[u] = true
				keep[i] = true
			}
		}
	}
	return keep
}

// unit is one calendar unit: two times lie in the same one if theirs are equal.
// Units of different kinds are never compared.
type unit struct{ year, part, hour, offset int }

// hour tells the two hours apart that have the same name on the night when summer
// time ends, by their distance from UTC.
func hour(t time.Time) unit {
	_, offset := t.Zone()
	return unit{t.Year(), t.YearDay(), t.Hour(), offset}
}

func day(t time.Time) unit { return unit{year: t.Year(), part: t.YearDay()} }

// week counts ISO weeks in ISO years: the last days of December may belong to the
// first week of the next year, and the first of January to the last of the year
// before.
func week(t time.Time) unit {
	y, w := t.ISOWeek()
	return unit{year: y, part: w}
}

func month(t time.Time) unit { return unit{year: t.Year(), part: int(t.Month())} }

func year(t time.Time) unit { return unit{year: t.Year()} }
