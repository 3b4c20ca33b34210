package remote

import (
	"encoding/json"

	"vmsync/replicator"
)

// tap is a controller's channel to an agent, from which progress is taken out as it
// arrives. jrpc2 handles every message in a goroutine of its own: behind it,
// notifications overtake each other, and the result of the call they belong to
// overtakes the last of them.
type tap struct {
	*lines
	progress func(replicator.Progress)
}

// Recv reads one message that is not progress.
func (t tap) Recv() ([]byte, error) {
	for {
		msg, err := t.lines.Recv()
		if err != nil {
			return nil, err
		}
		var note struct {
			Method string              `json:"method"`
			Params replicator.Progress `json:"params"`
		}
		// What cannot be read as progress is for jrpc2 to judge.
		if json.Unmarshal(msg, &note) != nil || note.Method != methodProgress {
			return msg, nil
		}
		t.progress(note.Params)
	}
}
