package config

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// Cron is a schedule by the calendar. It may be used by many goroutines.
type Cron struct {
	text     string
	schedule cron.Schedule
}

// ParseCron reads five fields, minute, hour, day of the month, month and day of the week,
// as cron(5) has them, or @hourly, @daily, @weekly, @monthly or @yearly. With
// CRON_TZ=Europe/Berlin in front the times are of that place, else of the location of the
// times that [Cron.Next] is given. A schedule that never comes is refused.
func ParseCron(text string) (*Cron, error) {
	const example = "write five fields, minute hour day month weekday, like 0 */4 * * *"
	if len(text) > 200 || strings.ContainsFunc(text, unprintable) {
		return nil, fmt.Errorf("%.40q… is no cron schedule: %s", text, example)
	}
	fields := strings.Fields(text)
	switch {
	case len(fields) == 0:
		return nil, errors.New("it is empty: " + example)
	case fields[0] == "@every":
		return nil, fmt.Errorf("%q: use the key every instead", text)
	case strings.HasPrefix(fields[0], "TZ="):
		return nil, fmt.Errorf("%q: write CRON_TZ= instead of TZ=", text)
	case strings.HasPrefix(fields[0], "CRON_TZ=") && len(fields) == 1:
		return nil, fmt.Errorf("%q says no times: %s", text, example)
	}
	text = strings.Join(fields, " ")
	schedule, err := cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor).Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%q is no cron schedule (%w): %s", text, err, example)
	}
	c := &Cron{text, schedule}
	if c.Next(time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return nil, fmt.Errorf("%q never comes: there is no such day", text)
	}
	return c, nil
}

// Next is the first time of the schedule after t, in t's location. A time that the clock
// leaves out when summer time begins is left out; one that comes twice when it ends counts
// twice. The zero time means that none comes within five years.
func (c *Cron) Next(t time.Time) time.Time { return c.schedule.Next(t) }

// String is the schedule as [ParseCron] reads it.
func (c *Cron) String() string { return c.text }
