package replicator

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vmsync/internal/event"
	"vmsync/nbdproxy/spec"
)

// script is a source end that answers as it is told and keeps what it was asked.
type script struct {
	SourceEnd
	view     *SourceView
	begin    func(BeginRequest) error
	wire     int64
	wait     error
	asked    []BeginRequest
	finished [][]string
}

func (s *script) Inspect(context.Context, InspectRequest) (*SourceView, error) { return s.view, nil }

func (s *script) Begin(_ context.Context, r BeginRequest) (*Begun, error) {
	s.asked = append(s.asked, r)
	if s.begin != nil {
		if err := s.begin(r); err != nil {
			return nil, err
		}
	}
	b := &Begun{Socket: "/s"}
	for i, d := range r.Disks {
		b.Disks = append(b.Disks, BegunDisk{Name: d.Name, Size: s.view.Disks[i].Size, Incremental: d.Parent != ""})
	}
	return b, nil
}

func (s *script) Wait(context.Context, func(Progress)) (*StreamResult, error) {
	return &StreamResult{Traffic: spec.Traffic{Wire: s.wire}}, s.wait
}

func (s *script) Finish(_ context.Context, drop []string) error {
	s.finished = append(s.finished, drop)
	return nil
}

type nobody struct{}

func (nobody) Emit(event.Event) {}

func trySend(t *testing.T, src *script, since string, delivered int64, failure error) (*event.Summary, error) {
	t.Helper()
	return Send(t.Context(), SendRequest{Domain: "vm1", SourceHost: "hosta", Since: since}, src,
		func(_ context.Context, socket string) (int64, error) { return delivered, failure }, nobody{})
}

func TestSendKeepsTheCheckpointOfAWholeStream(t *testing.T) {
	both := []string{"vda", "vdb"}
	src := &script{wire: 100, view: sourceView(checkpoints(SourceCheckpoint{name(3), 3, both}, SourceCheckpoint{name(4), 4, both}))}
	sum, err := trySend(t, src, name(4), 100, nil)
	if err != nil || sum.Checkpoint != name(5) || sum.State != "" || sum.Kind != "incremental" {
		t.Fatalf("%+v, %v", sum, err)
	}
	if diff := cmp.Diff([][]string{{name(3)}}, src.finished); diff != "" {
		t.Error(diff)
	}
	want := &Describe{SourceHost: "hosta", LeftOut: []string{"sda"}}
	if diff := cmp.Diff(want, src.asked[0].Describe); diff != "" {
		t.Error(diff)
	}
}

func TestSendThatIsNotWholeFinishesNothing(t *testing.T) {
	full := &Error{Kind: KindNoSpace, Err: errors.New("no space")}
	peer := &Error{Kind: KindPeer, Err: errors.New("closed")}
	for name, c := range map[string]struct {
		delivered     int64
		failure, wait error
		kind          string
	}{
		"a byte is missing":         {delivered: 99, kind: KindStream},
		"the output is full":        {delivered: 50, failure: full, wait: peer, kind: KindNoSpace},
		"full when it was all sent": {delivered: 100, failure: full, kind: KindNoSpace},
		"the source failed":         {delivered: 50, wait: &Error{Kind: KindExport, Err: errors.New("gone")}, kind: KindExport},
	} {
		src := &script{wire: 100, wait: c.wait, view: sourceView()}
		sum, err := trySend(t, src, "", c.delivered, c.failure)
		if sum != nil || KindOf(err) != c.kind || len(src.finished) > 0 {
			t.Errorf("%s: %+v, %v, finished %v", name, sum, err, src.finished)
		}
	}
}

func TestSendWithUnusableBitmapsSendsWholeDisksToTheSameReplica(t *testing.T) {
	both := []string{"vda", "vdb"}
	src := &script{wire: 1, view: sourceView(checkpoints(SourceCheckpoint{name(3), 3, both}, SourceCheckpoint{name(4), 4, both}))}
	src.begin = func(r BeginRequest) error {
		if r.Parent == "" {
			return nil
		}
		return &Error{Kind: KindCheckpointInconsistent, Disk: "vda", Err: errors.New("no bitmap")}
	}
	sum, err := trySend(t, src, name(4), 1, nil)
	if err != nil || sum.Kind != "full" || sum.Checkpoint != name(5) {
		t.Fatalf("%+v, %v", sum, err)
	}
	last := src.asked[len(src.asked)-1]
	if diff := cmp.Diff([]string{name(3), name(4)}, last.Forget); diff != "" || last.Parent != "" {
		t.Errorf("%+v\n%s", last, diff)
	}
}
