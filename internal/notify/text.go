package notify

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"vmsync/internal/config"
	"vmsync/internal/units"
)

// longest bounds a text that comes from elsewhere, in bytes.
const longest = 1000

// line makes a text one line of what can be shown, and not too long.
func line(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsPrint(r):
			return r
		case r == unicode.ReplacementChar, unicode.IsSpace(r), unicode.IsControl(r):
			return ' '
		}
		return -1 // as marks that turn the text around
	}, strings.ToValidUTF8(s, "?"))
	if len(s) > longest {
		s = strings.ToValidUTF8(s[:longest], "") + "…"
	}
	return strings.TrimSpace(s)
}

// subject says in a line what a message is about.
func subject(host string, news []News) string {
	about := ""
	switch n := news[0]; {
	case len(news) > 1:
		about = counts(news)
	case n.Domain == "":
		about = n.Message
	default:
		about = n.Domain + ": " + n.Message
	}
	return "[vmsync " + host + "] " + about
}

// counts says how much news there is of each event.
func counts(news []News) string {
	n := map[config.Event]int{}
	for _, one := range news {
		n[one.Event]++
	}
	var parts []string
	for _, e := range []struct {
		event     config.Event
		one, many string
	}{
		{config.RPOBroken, "replica older than promised", "replicas older than promised"},
		{config.Failed, "machine failed to sync", "machines failed to sync"},
		{config.Recovered, "machine recovered", "machines recovered"},
	} {
		what := e.many
		if n[e.event] == 1 {
			what = e.one
		}
		if n[e.event] > 0 {
			parts = append(parts, fmt.Sprint(n[e.event], " ", what))
		}
	}
	return strings.Join(parts, ", ")
}

// text says all for people. What happened to several machines for the same reason is said
// once, with a line for each.
func text(host string, news []News) string {
	type group struct {
		event                         config.Event
		source, message, reason, hint string
	}
	var order []group
	lines := map[group][]string{}
	for _, n := range news {
		g := group{n.Event, n.Source, n.Message, n.reason(), n.Hint}
		if lines[g] == nil {
			order = append(order, g)
		}
		lines[g] = append(lines[g], n.line())
	}
	var b strings.Builder
	fmt.Fprintf(&b, "vmsync on %s reports:\n", host)
	for _, g := range order {
		fmt.Fprintf(&b, "\n%s\n", sentence(g.message))
		for _, l := range lines[g] {
			if l != "" {
				fmt.Fprintf(&b, "    %s\n", l)
			}
		}
		if g.reason != "" {
			fmt.Fprintf(&b, "  Reason: %s\n", g.reason)
		}
		if g.hint != "" {
			fmt.Fprintf(&b, "  What to do: %s\n", g.hint)
		}
	}
	return b.String()
}

// sentence begins with a capital.
func sentence(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

func (n *News) reason() string {
	switch {
	case n.Error == nil:
		return ""
	case n.Error.Disk != "":
		return "disk " + n.Error.Disk + ": " + n.Error.Message
	}
	return n.Error.Message
}

// line tells of one machine.
func (n *News) line() string {
	if n.Domain == "" {
		return ""
	}
	var parts []string
	switch {
	case n.Since.IsZero():
	case n.Event == config.Recovered:
		parts = append(parts, "after "+span(n.Time.Sub(n.Since).Seconds()))
	default:
		parts = append(parts, "since "+n.Since.Local().Format("2006-01-02 15:04:05 MST"))
	}
	if n.Fresh.IsZero() {
		parts = append(parts, "there is no replica yet")
	} else {
		parts = append(parts, "the replica is "+span(n.Age)+" old")
	}
	if n.RPO > 0 {
		parts = append(parts, "promised are "+span(n.RPO))
	}
	if n.Run != "" && n.Event == config.Failed {
		parts = append(parts, "run "+n.Run)
	}
	return n.Domain + " on " + n.Source + ": " + strings.Join(parts, ", ")
}

// span is a length of time in seconds for people.
func span(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	return units.FormatDuration(max(d, 0).Truncate(time.Second))
}
