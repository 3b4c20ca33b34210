package replicator

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"time"

	"vmsync/internal/event"
	"vmsync/internal/faultpoint"
)

// SendRequest says what to send.
type SendRequest struct {
	Domain     string // name or UUID on the source
	SourceHost string // as it is to be named in the stream, for people
	Since      string // see DecideSend
	Compress   string // see spec.Serve
	Rate       int64  // bytes of stream per second; 0 is no limit
	Options    Options
	Run        string // id that logs and reports name it by; empty for none
}

// Deliver takes a stream from a unix socket on the source to where it is kept, and
// returns its length in bytes when it is safe there. An error that is about that
// place is an [*Error] of KindOutput or KindNoSpace.
type Deliver func(ctx context.Context, socket string) (int64, error)

// Send makes one stream and delivers it. src must be fresh; Send does not close it.
// It returns a summary only when the stream was delivered whole: then the checkpoint
// stays, and the next stream can build on it. After any other end [SourceEnd.Close]
// deletes the checkpoint. An error after the delivery comes with the summary.
func Send(ctx context.Context, req SendRequest, src SourceEnd, deliver Deliver, out event.Sink) (*event.Summary, error) {
	s := &sending{req: req, src: src, deliver: deliver, out: out, start: time.Now()}
	for _, step := range []struct {
		phase event.Phase
		do    func(context.Context) error
	}{
		{event.PhaseInspect, s.look},
		{event.PhaseBegin, s.begin},
		{event.PhaseTransfer, s.transfer},
	} {
		if err := Phase(out, step.phase, func() error { return step.do(ctx) }); err != nil {
			return nil, err
		}
	}
	faultpoint.Hit("send-before-finish")
	err := Phase(out, event.PhaseFinish, func() error { return src.Finish(ctx, s.plan.Drop) })
	if err != nil {
		err = fmt.Errorf("the stream is complete, but the source could not be settled: %w", err)
	}
	return s.summary(), err
}

// sending is one stream on its way.
type sending struct {
	req     SendRequest
	src     SourceEnd
	deliver Deliver
	out     event.Sink
	start   time.Time

	source *SourceView
	plan   *Plan
	begun  *Begun
	sent   *StreamResult
	moved  time.Duration
}

// look inspects the source and makes the plan.
func (s *sending) look(ctx context.Context) (err error) {
	if s.source, err = s.src.Inspect(ctx, InspectRequest{Domain: s.req.Domain, Run: s.req.Run}); err != nil {
		return err
	}
	tellCleaned(s.out, "source", s.source.Cleaned)
	for _, w := range s.source.Warnings {
		s.out.Emit(event.Warning{Message: w})
	}
	pair, err := newPair()
	if err != nil {
		return err
	}
	if s.plan, err = DecideSend(s.source, pair, s.req.Since, s.req.Options); err != nil {
		return err
	}
	if s.req.Since == "" {
		tellOtherPairs(s.out, s.source, pair)
	}
	tellLeftOut(s.out, s.plan)
	return nil
}

// newPair makes up the id of a pair.
func newPair() (string, error) {
	var id [PairLength / 2]byte
	if _, err := rand.Read(id[:]); err != nil {
		return "", fmt.Errorf("make up an id: %w", err)
	}
	return hex.EncodeToString(id[:]), nil
}

// begin opens the backup on the source. Where the parent's bitmaps turn out to be
// unusable it starts over with whole disks.
func (s *sending) begin(ctx context.Context) error {
	err := s.tryBegin(ctx)
	parent := s.plan.Parent
	why, unusable := parentUnusable(s.out, s.plan, err)
	if !unusable {
		return err
	}
	s.plan = s.plan.WithoutParent(why).withoutCompare()
	s.plan.Forget = append(s.plan.Forget, parent)
	return s.tryBegin(ctx)
}

func (s *sending) tryBegin(ctx context.Context) (err error) {
	tellFull(s.out, s.plan)
	req := beginRequest(s.plan, s.req.Compress)
	req.Rate = s.req.Rate
	req.Describe = &Describe{SourceHost: s.req.SourceHost, LeftOut: leftOutNames(s.plan)}
	if s.begun, err = s.src.Begin(ctx, req); err != nil {
		return err
	}
	tellBegun(s.out, s.begun)
	return sameDisks(s.source.Name, s.plan, s.begun)
}

// transfer delivers the stream and waits for the source to agree that all of it was.
func (s *sending) transfer(ctx context.Context) error {
	var delivered int64
	start := time.Now()
	defer func() { s.moved = time.Since(start) }()
	errs := together(ctx, func(ctx context.Context) (err error) {
		delivered, err = s.deliver(ctx, s.begun.Socket)
		return err
	}, func(ctx context.Context) (err error) {
		s.sent, err = s.src.Wait(ctx, newProgress(s.out).sent)
		return err
	})
	if err := chooseError(ctx, errs...); err != nil {
		return err
	}
	if delivered != s.sent.Traffic.Wire {
		return &Error{Kind: KindStream, Domain: s.source.Name, Op: "compare what was sent with what was written",
			Hint: "run it again", Err: fmt.Errorf("the source sent %d bytes, %d were written", s.sent.Traffic.Wire, delivered)}
	}
	return nil
}

func (s *sending) summary() *event.Summary {
	sum := &event.Summary{Run: s.req.Run, Domain: s.source.Name, Checkpoint: s.plan.Checkpoint, Kind: s.plan.Kind(),
		Consistency: string(s.begun.Consistency), Traffic: traffic(s.sent.Traffic), Transfer: s.moved, Frozen: s.begun.Frozen, Duration: time.Since(s.start)}
	sumUp(sum, s.plan, s.sent)
	return sum
}
