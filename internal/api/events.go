package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"vmsync/internal/history"
)

// What an [Event] may be.
const (
	EventRunBegan     = "run_began"     // Run
	EventRunEnded     = "run_ended"     // Run
	EventHealth       = "health"        // Health, Before, Age, RPO
	EventPaused       = "paused"        // Reason
	EventResumed      = "resumed"       //
	EventMachineAdded = "machine_added" // it is replicated from now on
	EventMachineGone  = "machine_gone"  // it is no longer replicated
	EventSourceLost   = "source_lost"   // Error; it does not answer
	EventSourceBack   = "source_back"   // it answers again
	EventReloaded     = "reloaded"      // the configuration was read again
	EventStopping     = "stopping"      // the service begins nothing any more
	EventMissed       = "missed"        // Missed: the reader was too slow for so many events
	EventHeartbeat    = "heartbeat"     // nothing happened; the service lives
)

// HeartbeatEvery is how often something comes from a stream of events, at least.
const HeartbeatEvery = 10 * time.Second

// Event is something that happened to a machine, a source or the service. Those that come
// from a machine have Source and Machine, those from a source Source.
type Event struct {
	Event   string            `json:"event"`
	ID      string            `json:"id,omitempty"` // no other event has it; heartbeats and what was missed have none
	Time    time.Time         `json:"time"`
	Source  string            `json:"source,omitempty"`
	Machine string            `json:"machine,omitempty"` // domain
	Run     *history.Run      `json:"run,omitempty"`
	Health  Health            `json:"health,omitempty"`
	Before  Health            `json:"before,omitempty"` // empty: nothing was known
	Age     float64           `json:"age_seconds,omitempty"`
	RPO     float64           `json:"rpo_seconds,omitempty"`
	Reason  string            `json:"reason,omitempty"`
	Error   *history.RunError `json:"error,omitempty"`
	Missed  int               `json:"missed,omitempty"`
}

// errSilent means that not even heartbeats came.
var errSilent = errors.New("the service is silent")

// Events passes on what happens, beginning with the last events that happened before, at
// most so many, and of these only those after the one with an id, where the service knows
// that; heartbeats are kept to itself. It returns when ctx ends, when the service
// does, or when that was silent for three heartbeats; never nil.
func (c *Client) Events(ctx context.Context, last int, after string, tell func(Event)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	resp, err := c.send(ctx, http.MethodGet, fmt.Sprintf("/events?last=%d&after=%s", last, url.QueryEscape(after)), nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	silent := time.AfterFunc(3*HeartbeatEvery, func() { cancel(errSilent) })
	defer silent.Stop()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		silent.Reset(3 * HeartbeatEvery)
		var e Event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return fmt.Errorf("an event that cannot be read: %w", err)
		}
		if e.Event != EventHeartbeat {
			tell(e)
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return fmt.Errorf("the service has ended: %w", errors.Join(lines.Err(), io.EOF))
}

// LastRuns lists the last runs of every machine, at most limit of each, those of a machine
// together and the newest first.
func (c *Client) LastRuns(ctx context.Context, limit int) ([]history.Run, error) {
	var runs []history.Run
	return runs, c.call(ctx, http.MethodGet, fmt.Sprintf("/runs?limit=%d", limit), nil, &runs)
}
