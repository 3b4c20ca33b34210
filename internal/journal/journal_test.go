package journal

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
	"github.com/google/go-cmp/cmp"
)

func TestCapitalsAreFieldsAndTheRestIsText(t *testing.T) {
	var message string
	var p journal.Priority
	var fields map[string]string
	log := slog.New(&Handler{level: slog.LevelInfo, send: func(m string, pr journal.Priority, f map[string]string) error {
		message, p, fields = m, pr, f
		return nil
	}})
	log.Debug("unheard")
	if message != "" {
		t.Error("what nobody asked for is logged")
	}
	run := log.With("DOMAIN", "vm1", "RUN", "4f1c09ab77d2")
	run.WithGroup("g").Warn("no room", "took", 1500*time.Millisecond, "error", errors.New("disk \"x\" full"), "DISK", "vda", "n", 3)
	if want := `no room g.took=1.5s g.error="disk \"x\" full" g.DISK=vda g.n=3`; message != want || p != journal.PriWarning {
		t.Errorf("%v %s", p, message)
	}
	if diff := cmp.Diff(map[string]string{"DOMAIN": "vm1", "RUN": "4f1c09ab77d2"}, fields); diff != "" {
		t.Error(diff)
	}
	run.Error("x", "DISK", "vda")
	if fields["DISK"] != "vda" || p != journal.PriErr || message != "x" {
		t.Errorf("%v %v %s", fields, p, message)
	}
}
