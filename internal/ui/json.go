package ui

import (
	"encoding/json"
	"math"
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

type jsonRun struct {
	head
	Run    string `json:"run"`
	Domain string `json:"domain"`
	Source string `json:"source"`
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
	Run     string `json:"run,omitempty"`  // of an error
	Kind    string `json:"kind,omitempty"` // of an error
	Message string `json:"message"`
	Domain  string `json:"domain,omitempty"`
	Disk    string `json:"disk,omitempty"`
	Hint    string `json:"hint,omitempty"`
}

type jsonProgress struct {
	head
	Disk    string `json:"disk"`
	Done    int64  `json:"done_bytes"`
	Total   int64  `json:"total_bytes"` // 0 while unknown
	Zero    int64  `json:"zero_bytes"`  // of done_bytes
	Written int64  `json:"written_bytes"`
	Found   int64  `json:"found_bytes"`
	Scanned int64  `json:"scanned_bytes"`
	Size    int64  `json:"size_bytes"`
	jsonTraffic
}

// jsonTraffic is that of all disks.
type jsonTraffic struct {
	Sent   int64                `json:"sent_bytes"`
	Frames int64                `json:"frames"`
	Ratio  float64              `json:"compression_ratio"` // 0 where no data were sent
	Codecs map[string]jsonCodec `json:"codecs"`
}

type jsonCodec struct {
	Frames int64 `json:"frames"`
	Raw    int64 `json:"raw_bytes"`
	Stored int64 `json:"stored_bytes"`
}

func trafficJSON(t event.Traffic) jsonTraffic {
	codecs := make(map[string]jsonCodec)
	for _, c := range t.Codecs {
		codecs[c.Codec] = jsonCodec{c.Frames, c.Raw, c.Stored}
	}
	return jsonTraffic{t.Bytes, t.Frames, math.Round(t.Ratio()*1000) / 1000, codecs}
}

type jsonSummary struct {
	head
	Run         string `json:"run,omitempty"`
	Domain      string `json:"domain"`
	State       string `json:"state,omitempty"`
	Checkpoint  string `json:"checkpoint,omitempty"`
	Kind        string `json:"kind"`
	Consistency string `json:"consistency,omitempty"`
	Changed     int64  `json:"changed_bytes"`
	Zero        int64  `json:"zero_bytes"`
	Transport   string `json:"transport,omitempty"`
	NotDirect   string `json:"not_direct,omitempty"`
	jsonTraffic
	SentRate float64    `json:"sent_bytes_per_second"` // while the stream lasted
	Transfer float64    `json:"transfer_seconds"`
	Duration float64    `json:"duration_seconds"`
	Frozen   float64    `json:"frozen_seconds"`
	Group    *jsonGroup `json:"group,omitempty"`
	Disks    []jsonDisk `json:"disks"`
}

type jsonGroup struct {
	ID         string   `json:"id"`
	Name       string   `json:"name"`
	Members    []string `json:"members"`
	OneInstant bool     `json:"one_instant"`
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
	case event.Run:
		return jsonRun{h("run"), e.ID, e.Domain, e.Source}
	case event.PhaseStarted:
		return jsonPhaseStarted{h("phase_started"), e.Phase}
	case event.PhaseFinished:
		return jsonPhaseFinished{h("phase_finished"), e.Phase, e.Duration.Seconds(), e.Detail}
	case event.Notice:
		return jsonMessage{head: h("notice"), Message: e.Message}
	case event.Warning:
		return jsonMessage{head: h("warning"), Message: e.Message, Disk: e.Disk}
	case event.Progress:
		return jsonProgress{h("progress"), e.Disk, e.Done, e.Total, e.Zero, e.Written, e.Found, e.Scanned, e.Size, trafficJSON(e.Traffic)}
	case event.Error:
		return jsonMessage{head: h("error"), Run: e.Run, Kind: e.Kind, Message: e.Message, Domain: e.Domain, Disk: e.Disk, Hint: e.Hint}
	case event.Summary:
		s := jsonSummary{head: h("summary"), Run: e.Run, Domain: e.Domain, State: e.State, Checkpoint: e.Checkpoint, Kind: e.Kind,
			Consistency: e.Consistency, Changed: e.ChangedBytes, Zero: e.ZeroBytes, Transport: e.Transport, NotDirect: e.NotDirect,
			jsonTraffic: trafficJSON(e.Traffic), SentRate: math.Round(e.SentRate()), Transfer: e.Transfer.Seconds(), Duration: e.Duration.Seconds(), Frozen: e.Frozen.Seconds(),
			Group: (*jsonGroup)(e.Group), Disks: []jsonDisk{}}
		for _, d := range e.Disks {
			s.Disks = append(s.Disks, jsonDisk{d.Disk, d.Kind, d.ChangedBytes, d.ZeroBytes})
		}
		return s
	}
	return stateJSON(e, h)
}

func (j *jsonOutput) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.closed = true
	return j.err
}
