package config

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"vmsync/internal/units"
)

// Rate limits what is sent, all the time or by times of day. The zero value is no limit.
type Rate struct{ Windows []RateWindow }

// RateWindow is a rate for some time of some days.
type RateWindow struct {
	// From and To are minutes since midnight, 0 to 1440, From included and To not. Where
	// To is not after From the window goes on to the next day, and Days are those on
	// which it begins.
	From, To int
	Days     [7]bool // by time.Weekday
	Rate     int64   // bytes per second; 0 is no limit
}

// At is the limit at a time, in bytes per second by the clock of the time's location: that
// of the first window that the time is in. 0, or no window, is no limit.
func (r Rate) At(t time.Time) int64 {
	minute, today := t.Hour()*60+t.Minute(), t.Weekday()
	yesterday := (today + 6) % 7
	for _, w := range r.Windows {
		switch {
		case w.From < w.To && w.Days[today] && minute >= w.From && minute < w.To,
			w.From >= w.To && w.Days[today] && minute >= w.From,
			w.From >= w.To && w.Days[yesterday] && minute < w.To:
			return w.Rate
		}
	}
	return 0
}

// always is a rate for all the time; none for 0.
func always(rate int64) Rate {
	if rate == 0 {
		return Rate{}
	}
	return Rate{[]RateWindow{{To: 24 * 60, Days: everyDay(), Rate: rate}}}
}

func everyDay() [7]bool { return [7]bool{true, true, true, true, true, true, true} }

// readRate reads a limit: a rate, none, or a list of windows.
func readRate(s section, key string) *Rate {
	n := s.values[key]
	if n == nil {
		return nil
	}
	if n.kind == scalar {
		if v := one(s, key, rateOrNone); v != nil {
			r := always(*v)
			return &r
		}
		return nil
	}
	var r Rate
	for _, w := range s.sections(key, windowKeys()) {
		r.Windows = append(r.Windows, readWindow(w))
	}
	return &r
}

func readWindow(s section) RateWindow {
	w := RateWindow{To: 24 * 60, Days: everyDay()}
	if s.need("rate", "rate: 50M, or rate: none") {
		w.Rate = orElse(s, "rate", 0, rateOrNone)
	}
	from, to := one(s, "from", clock), one(s, "to", clock)
	switch {
	case (s.values["from"] == nil) != (s.values["to"] == nil):
		s.f.add(s.position, "from or to is missing: write both, or none of them for the whole day")
	case from != nil && to != nil && *from == *to:
		s.f.add(s.at("to"), "from and to are the same: leave both out for the whole day")
	case from != nil && *from == 24*60:
		s.f.add(s.at("from"), "from: the day ends at 24:00: write 00:00")
	case from != nil && to != nil:
		w.From, w.To = *from, *to
	}
	if s.values["days"] != nil {
		w.Days = [7]bool{}
		for _, days := range many(s, "days", weekdays) {
			for i := range days {
				w.Days[i] = w.Days[i] || days[i]
			}
		}
		if w.Days == [7]bool{} && s.values["days"].kind == list && len(s.values["days"].items) == 0 {
			s.f.add(s.at("days"), "days: there are none: leave the key out for all of them")
		}
	}
	return w
}

func rateOrNone(text string) (int64, error) {
	if text == none {
		return 0, nil
	}
	rate, err := units.ParseRate(text)
	if err != nil {
		err = fmt.Errorf("%w: give bytes per second like 50M, or none", err)
	}
	return rate, err
}

// clock reads a time of day as minutes since midnight.
func clock(text string) (int, error) {
	h, m, ok := strings.Cut(text, ":")
	hours, hourErr := strconv.ParseUint(h, 10, 8)
	minutes, minuteErr := strconv.ParseUint(m, 10, 8)
	at := int(hours)*60 + int(minutes)
	if !ok || len(m) != 2 || hourErr != nil || minuteErr != nil || minutes > 59 || at > 24*60 {
		return 0, fmt.Errorf("%q is no time of day: write one from 00:00 to 24:00", text)
	}
	return at, nil
}

// clockText writes what clock reads.
func clockText(minute int) string { return fmt.Sprintf("%02d:%02d", minute/60, minute%60) }

func dayNames() []string { return []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"} }

// weekdays reads a day, or a range of days, which may go over the week's end.
func weekdays(text string) (days [7]bool, err error) {
	first, last, isRange := strings.Cut(text, "-")
	if !isRange {
		last = first
	}
	from, to := -1, -1
	for i, name := range dayNames() {
		if name == first {
			from = i
		}
		if name == last {
			to = i
		}
	}
	if from < 0 || to < 0 {
		return days, fmt.Errorf("%q is no day: use mon, tue, wed, thu, fri, sat or sun, or a range like mon-fri", text)
	}
	for i := from; ; i = (i + 1) % 7 {
		days[i] = true
		if i == to {
			return days, nil
		}
	}
}
