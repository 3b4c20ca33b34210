package ui

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"vmsync/internal/event"
)

// EncodeJSON is one event as a JSON object, as a run's output with --json has it; nil for
// an event that has none.
func EncodeJSON(e event.Event, now time.Time) ([]byte, error) {
	object := toJSON(e, now)
	if object == nil {
		return nil, nil
	}
	return json.Marshal(object)
}

// DecodeJSON is the reverse of [EncodeJSON], for the events of a sync. Of another event,
// which a later release may have, it returns nil.
func DecodeJSON(line []byte) (event.Event, error) {
	var h head
	if err := json.Unmarshal(line, &h); err != nil {
		return nil, fmt.Errorf("an event that cannot be read: %w", err)
	}
	decode := map[string]func([]byte) (event.Event, error){
		"run": decoder(func(j jsonRun) event.Event { return event.Run{ID: j.Run, Domain: j.Domain, Source: j.Source} }),
		"phase_started": decoder(func(j jsonPhaseStarted) event.Event {
			return event.PhaseStarted{Phase: j.Phase}
		}),
		"phase_finished": decoder(func(j jsonPhaseFinished) event.Event {
			return event.PhaseFinished{Phase: j.Phase, Duration: seconds(j.Duration), Detail: j.Detail}
		}),
		"notice":  decoder(func(j jsonMessage) event.Event { return event.Notice{Message: j.Message} }),
		"warning": decoder(func(j jsonMessage) event.Event { return event.Warning{Message: j.Message, Disk: j.Disk} }),
		"error": decoder(func(j jsonMessage) event.Event {
			return event.Error{Run: j.Run, Kind: j.Kind, Message: j.Message, Domain: j.Domain, Disk: j.Disk, Hint: j.Hint}
		}),
		"progress": decoder(jsonProgress.event),
		"summary":  decoder(jsonSummary.event),
		"skipped": decoder(func(j jsonSkipped) event.Event {
			return event.Skipped{Run: j.Run, Domain: j.Domain, ChangedBytes: j.Changed, MinChanged: j.Minimum, Duration: seconds(j.Duration)}
		}),
	}[h.Event]
	if decode == nil {
		return nil, nil
	}
	return decode(line)
}

func decoder[T any](make func(T) event.Event) func([]byte) (event.Event, error) {
	return func(line []byte) (event.Event, error) {
		var v T
		if err := json.Unmarshal(line, &v); err != nil {
			return nil, fmt.Errorf("an event that cannot be read: %w", err)
		}
		return make(v), nil
	}
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

func (j jsonTraffic) event() event.Traffic {
	t := event.Traffic{Bytes: j.Sent, Frames: j.Frames}
	for name, c := range j.Codecs {
		t.Codecs = append(t.Codecs, event.CodecTraffic{Codec: name, Frames: c.Frames, Raw: c.Raw, Stored: c.Stored})
	}
	slices.SortFunc(t.Codecs, func(a, b event.CodecTraffic) int { return strings.Compare(a.Codec, b.Codec) })
	return t
}

func (j jsonProgress) event() event.Event {
	return event.Progress{Disk: j.Disk, Done: j.Done, Total: j.Total, Zero: j.Zero, Written: j.Written, Found: j.Found, Scanned: j.Scanned,
		Size: j.Size, Traffic: j.jsonTraffic.event()}
}

func (j jsonSummary) event() event.Event {
	s := event.Summary{Run: j.Run, Domain: j.Domain, State: j.State, Checkpoint: j.Checkpoint, Kind: j.Kind, Consistency: j.Consistency,
		ChangedBytes: j.Changed, ZeroBytes: j.Zero, Transport: j.Transport, NotDirect: j.NotDirect, Traffic: j.jsonTraffic.event(),
		Transfer: seconds(j.Transfer), Duration: seconds(j.Duration), Frozen: seconds(j.Frozen), Group: (*event.Group)(j.Group)}
	for _, d := range j.Disks {
		s.Disks = append(s.Disks, event.DiskSummary{Disk: d.Disk, Kind: d.Kind, ChangedBytes: d.Changed, ZeroBytes: d.Zero})
	}
	return s
}
