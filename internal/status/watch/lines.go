package watch

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"vmsync/internal/api"
	"vmsync/internal/ui"
)

// Lines writes what happens, a line for each event, until ctx ends, which is no error, or
// out takes no more. With asJSON each line is an [api.Event]. What happened before is not
// told. Of a service that does not answer log is told once, and it is asked until it does.
func Lines(ctx context.Context, s Service, only string, asJSON bool, out io.Writer, log func(string)) error {
	var writing error
	heard := "" // the id of the last event
	last := 0
	lost := false
	for {
		listening, stop := context.WithCancel(ctx)
		err := s.Events(listening, last, heard, func(e api.Event) {
			lost, heard, last = false, cmp.Or(e.ID, heard), keptEvents
			if e.Machine != "" && !matches(only, e.Source, e.Machine) || writing != nil {
				return
			}
			if writing = line(out, e, asJSON); writing != nil {
				stop()
			}
		})
		stop()
		switch {
		case writing != nil:
			return fmt.Errorf("write what happens: %w", writing)
		case ctx.Err() != nil:
			return nil
		case !lost:
			lost = true
			log(err.Error())
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(tryAgain):
		}
	}
}

func line(out io.Writer, e api.Event, asJSON bool) error {
	if asJSON {
		data, err := json.Marshal(e)
		if err == nil {
			_, err = out.Write(append(data, '\n'))
		}
		return err
	}
	_, err := fmt.Fprintf(out, "%s %s%s\n", e.Time.UTC().Format(time.RFC3339), from(e), Line(e).Plain())
	return err
}

// from is the source of a machine's event, which its line leaves out.
func from(e api.Event) string {
	if e.Machine == "" || e.Source == "" {
		return ""
	}
	return ui.Visible(e.Source) + "/"
}
