package remote

import (
	"encoding/json"

	"vmsync/replicator"
)

// tap is a controller's channel to an agent, from which progress and output are taken out as
// they arrive. jrpc2 handles every message in a goroutine of its own: behind it,
// notifications overtake each other, and the result of the call they belong to
// overtakes the last of them.
type tap struct {
	*lines
	progress func(replicator.Progress)
	output   func(outputLine)
}

// Recv reads one message that is not one of these.
func (t tap) Recv() ([]byte, error) {
	for {
		msg, err := t.lines.Recv()
		if err != nil || !t.take(msg) {
			return msg, err
		}
	}
}

// take takes a message that is progress or output. What cannot be read as that is for jrpc2
// to judge.
func (t tap) take(msg []byte) bool {
	var note struct {
		Method string          `json:"method"`
		Params json.RawMessage `json:"params"`
	}
	if json.Unmarshal(msg, &note) != nil {
		return false
	}
	switch note.Method {
	case methodProgress:
		var p replicator.Progress
		if json.Unmarshal(note.Params, &p) != nil {
			return false
		}
		t.progress(p)
	case methodOutput:
		var o outputLine
		if json.Unmarshal(note.Params, &o) != nil {
			return false
		}
		t.output(o)
	default:
		return false
	}
	return true
}
