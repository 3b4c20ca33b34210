package config

import (
	"testing"
	"time"
	_ "time/tzdata"
)

func TestDeadline(t *testing.T) {
	for _, c := range []struct{ name, settings, head, want string }{
		{"twice every", "every: 15m", "2026-11-21 07:03", "2026-11-21 07:33"},
		{"what is promised", "every: 15m, max_age: 1h", "2026-11-21 07:03", "2026-11-21 08:03"},
		{"rpo", "rpo: 60s", "2026-11-21 07:03", "2026-11-21 07:04"},
		{"waiting for changes counts", "every: 1h, min_changed: 1M, min_changed_max_age: 1d", "2026-11-21 07:03", "2026-11-22 09:03"},
		{"the second run by the calendar", "cron: '0 */4 * * *'", "2026-11-21 08:01", "2026-11-21 16:00"},
		{"over the weekend", "cron: '0 20 * * mon-fri'", "2026-11-20 20:01", "2026-11-24 20:00"},
		{"by the calendar, waiting for changes", "cron: '0 */4 * * *', min_changed: 1M, min_changed_max_age: 1d", "2026-11-21 08:01", "2026-11-22 16:00"},
		{"by the calendar, with a promise", "cron: '0 */4 * * *', max_age: 1d", "2026-11-21 08:01", "2026-11-22 08:01"},
	} {
		p := resolved(t, parsed(t, head+"machines: [{name: m, "+c.settings+"}]"), "a", "m")
		if got := p.Deadline(at(t, c.head)); !got.Equal(at(t, c.want)) {
			t.Errorf("%s: %s: got %s, want %s", c.name, c.settings, got, c.want)
		}
	}
}

func at(t *testing.T, text string) time.Time {
	t.Helper()
	when, err := time.Parse("2006-01-02 15:04", text)
	if err != nil {
		t.Fatal(err)
	}
	return when
}

func TestCronNext(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, cron, after, want string }{
		{"every four hours", "0 */4 * * *", "2026-11-21T07:03:00+01:00", "2026-11-21T08:00:00+01:00"},
		{"at the time itself, the next", "0 8 * * *", "2026-11-21T08:00:00+01:00", "2026-11-22T08:00:00+01:00"},
		{"names of days", "30 20 * * mon-fri", "2026-11-20T20:30:00+01:00", "2026-11-23T20:30:00+01:00"},
		{"sunday is 0", "0 0 * * 0", "2026-11-21T07:00:00+01:00", "2026-11-22T00:00:00+01:00"},
		{"a word", "@monthly", "2026-11-21T07:00:00+01:00", "2026-12-01T00:00:00+01:00"},
		{"blanks do not matter", "  0   3 * *  * ", "2026-11-21T07:00:00+01:00", "2026-11-22T03:00:00+01:00"},
		{"another place", "CRON_TZ=Asia/Tokyo 0 9 * * *", "2026-11-21T07:00:00+01:00", "2026-11-22T01:00:00+01:00"},
		{"left out when summer time begins", "30 2 * * *", "2026-03-28T03:00:00+01:00", "2026-03-30T02:30:00+02:00"},
		{"first time when it ends", "30 2 * * *", "2026-10-24T03:00:00+02:00", "2026-10-25T02:30:00+02:00"},
		{"second time when it ends", "30 2 * * *", "2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00"},
		{"leap day", "0 0 29 2 *", "2026-11-21T07:00:00+01:00", "2028-02-29T00:00:00+01:00"},
	} {
		s, err := ParseCron(c.cron)
		if err != nil {
			t.Fatal(err)
		}
		after, err := time.Parse(time.RFC3339, c.after)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Next(after.In(berlin)).Format(time.RFC3339); got != c.want {
			t.Errorf("%s: %s after %s: got %s, want %s", c.name, s, c.after, got, c.want)
		}
	}
}
