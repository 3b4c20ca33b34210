package remote

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vmsync/replicator"
)

// peekEnd is a source end that tells of so many domains more than it was asked for.
type peekEnd struct {
	end
	more int
}

func (e *peekEnd) Peek(_ context.Context, marks []replicator.Mark) ([]replicator.Peek, error) {
	peeks := make([]replicator.Peek, e.more, e.more+len(marks))
	for _, m := range marks {
		peeks = append(peeks, replicator.Peek{Shape: m.Shape, Changed: map[string]int64{m.Disks[0]: 7}, Unknown: m.Checkpoint})
	}
	return peeks, nil
}

func TestPeeksComeInTheOrderOfTheirMarks(t *testing.T) {
	for _, more := range []int{0, 1} {
		conn, _ := connectTo(t, &peekEnd{end: end{closed: make(chan struct{})}, more: more})
		mark := replicator.Mark{Domain: "vm1", UUID: "4711", Checkpoint: "a", Disks: []string{"vda"}, Shape: replicator.Shape{Definition: "d", Disks: "e"}}
		other := mark
		other.Checkpoint, other.Disks = "b", []string{"vdb"}
		got, err := Source{conn}.Peek(t.Context(), []replicator.Mark{mark, other})
		if more > 0 {
			if err == nil {
				t.Errorf("an answer of another length was taken: %+v", got)
			}
		} else if diff := cmp.Diff([]replicator.Peek{{Shape: mark.Shape, Changed: map[string]int64{"vda": 7}, Unknown: "a"},
			{Shape: mark.Shape, Changed: map[string]int64{"vdb": 7}, Unknown: "b"}}, got); diff != "" || err != nil {
			t.Errorf("%v %s", err, diff)
		}
		conn.Close()
	}
}
