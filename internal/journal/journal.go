// Package journal writes a program's log to systemd's journal, so that attributes with the
// names of fields, in capitals like DOMAIN, become fields: journalctl DOMAIN=vm1. All
// others are part of the message, as key=value.
//
// The package must never fail a program: what the journal does not take is lost.
package journal

import (
	"context"
	"log/slog"
	"os"
	"strconv"
	"strings"

	"github.com/coreos/go-systemd/v22/journal"
)

// Logger logs to the journal where stderr is connected to it, as that of a service is, and
// to stderr as text otherwise.
func Logger(level slog.Leveler) *slog.Logger {
	if connected, err := journal.StderrIsJournalStream(); err == nil && connected {
		return slog.New(&Handler{level: level, send: journal.Send})
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
}

// Host logs to this host's journal as the program of a name (journalctl -t NAME), whatever
// stderr is connected to; nil where there is no journal.
func Host(program string) slog.Handler {
	if !journal.Enabled() {
		return nil
	}
	return &Handler{level: slog.LevelInfo, send: func(message string, p journal.Priority, fields map[string]string) error {
		fields["SYSLOG_IDENTIFIER"] = program
		return journal.Send(message, p, fields)
	}}
}

// Handler implements [slog.Handler].
type Handler struct {
	level  slog.Leveler
	send   func(message string, p journal.Priority, fields map[string]string) error
	attrs  []slog.Attr
	prefix string // of groups, with dots
}

// Enabled implements [slog.Handler].
func (h *Handler) Enabled(_ context.Context, level slog.Level) bool { return level >= h.level.Level() }

// WithAttrs implements [slog.Handler].
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	more := *h
	more.attrs = append([]slog.Attr{}, h.attrs...)
	for _, a := range attrs {
		a.Key = h.prefix + a.Key
		more.attrs = append(more.attrs, a)
	}
	return &more
}

// WithGroup implements [slog.Handler].
func (h *Handler) WithGroup(name string) slog.Handler {
	more := *h
	if name != "" {
		more.prefix += name + "."
	}
	return &more
}

// Handle implements [slog.Handler].
func (h *Handler) Handle(_ context.Context, r slog.Record) error {
	message, fields := strings.Builder{}, map[string]string{}
	message.WriteString(r.Message)
	add := func(a slog.Attr) {
		switch value := a.Value.Resolve().String(); {
		case a.Key == "":
		case isField(a.Key):
			fields[a.Key] = value
		default:
			message.WriteString(" " + a.Key + "=" + quoted(value))
		}
	}
	for _, a := range h.attrs {
		add(a)
	}
	r.Attrs(func(a slog.Attr) bool {
		a.Key = h.prefix + a.Key
		add(a)
		return true
	})
	return h.send(message.String(), priority(r.Level), fields)
}

func priority(l slog.Level) journal.Priority {
	switch {
	case l >= slog.LevelError:
		return journal.PriErr
	case l >= slog.LevelWarn:
		return journal.PriWarning
	case l >= slog.LevelInfo:
		return journal.PriInfo
	}
	return journal.PriDebug
}

// isField tells whether the journal takes a key for a field's name.
func isField(key string) bool {
	if key[0] < 'A' || key[0] > 'Z' {
		return false
	}
	return strings.Trim(key, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == ""
}

func quoted(value string) string {
	if value == "" || strings.ContainsAny(value, " =\"\n\t") {
		return strconv.Quote(value)
	}
	return value
}
