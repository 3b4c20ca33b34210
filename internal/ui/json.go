package ui

import (
	"encoding/json"
	"sync"
	"time"

	"vmsync/internal/event"
)

// jsonOutput writes one JSON object per event and line. Names, units and meanings
// of the fields only ever get more: programs depend on them.
type jsonOutput struct {
	options Options

	mu     sync.Mutex
	closed bool
	err    error
}

// head begins every object.
type head struct {
	Time  string `json:"time"` // RFC 3339 with nanoseconds, UTC
	Event string `json:"event"`
}

type jsonPhaseStarted struct {
	head
	Phase event.Phase `json:"phase"`
}

type jsonPhaseFinished struct {
	head
	Phase    event.Phase `json:"phase"`
	Duration float64     `json:"duration_seconds"`
	Detail   string      `json:"detail,omitempty"`
}

type jsonMessage struct {
	head
	Kind    string `json:"kind,omitempty"` // of an error
	Message string `json:"message"`
	Domain  string `json:"domain,omitempty"`
	Disk    string `json:"disk,omitempty"`
	Hint    string `json:"hint,omitempty"`
}

type jsonProgress struct {
	head
	Disk  string `json:"disk"`
	Done  int64  `json:"done_bytes"`
	Total int64  `json:"total_bytes"` // 0 while unknown
	Wire  int64  `json:"sent_bytes"`
}

type jsonSummary struct {
	head
	Domain      string     `json:"domain"`
	State       string     `json:"state,omitempty"`
	Checkpoint  string     `json:"checkpoint,omitempty"`
	Kind        string     `json:"kind"`
	Consistency string     `json:"consistency,omitempty"`
	Changed     int64      `json:"changed_bytes"`
	Zero        int64      `json:"zero_bytes"`
	Sent        int64      `json:"sent_bytes"`
	Duration    float64    `json:"duration_seconds"`
	Frozen      float64    `json:"frozen_seconds"`
	Disks       []jsonDisk `json:"disks"`
}

type jsonDisk struct {
	Disk    string `json:"disk"`
	Kind    string `json:"kind"`
	Changed int64  `json:"changed_bytes"`
	Zero    int64  `json:"zero_bytes"`
}

func (j *jsonOutput) Emit(e event.Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if _, isProgress := e.(event.Progress); isProgress && j.options.Progress == ProgressNone {
		return
	}
	object := toJSON(e, j.options.now())
	if object == nil || j.closed {
		return
	}
	line, err := json.Marshal(object)
	if err == nil {
		_, err = j.options.Out.Write(append(line, '\n'))
	}
	if err != nil && j.err == nil {
		j.err = err
	}
}

// toJSON returns the object for an event; nil for a type it does not know.
func toJSON(e event.Event, now time.Time) any {
	h := func(name string) head {
		return head{Time: now.UTC().Format(time.RFC3339Nano), Event: name}
	}
	switch e := e.(type) {
	case event.PhaseStarted:
		return jsonPhaseStarted{h("phase_started"), e.Phase}
	case event.PhaseFinished:
		return jsonPhaseFinished{h("phase_finished"), e.Phase, e.Duration.Seconds(), e.Detail}
	case event.Notice:
		return jsonMessage{head: h("notice"), Message: e.Message}
	case event.Warning:
		return jsonMessage{head: h("warning"), Message: e.Message, Disk: e.Disk}
	case event.Progress:
		return jsonProgress{h("progress"), e.Disk, e.Done, e.Total, e.Wire}
	case event.Error:
		return jsonMessage{head: h("error"), Kind: e.Kind, Message: e.Message, Domain: e.Domain, Disk: e.Disk, Hint: e.Hint}
	case event.Summary:
		s := jsonSummary{head: h("summary"), Domain: e.Domain, State: e.State, Checkpoint: e.Checkpoint, Kind: e.Kind,
			Consistency: e.Consistency, Changed: e.ChangedBytes, Zero: e.ZeroBytes, Sent: e.SentBytes,
			Duration: e.Duration.Seconds(), Frozen: e.Frozen.Seconds(), Disks: []jsonDisk{}}
		for _, d := range e.Disks {
			s.Disks = append(s.Disks, jsonDisk{d.Disk, d.Kind, d.ChangedBytes, d.ZeroBytes})
		}
		return s
	}
	return nil
}

func (j *jsonOutput) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.closed = true
	return j.err
}
