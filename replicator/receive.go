package replicator

import (
	"context"
	"fmt"
	"time"

	"vmsync/internal/event"
)

// ReceiveRequest says where to receive a stream.
type ReceiveRequest struct {
	Store        string // absolute path on the target
	TargetDomain string // empty: the name in the stream
	Keep         string // retention policy from now on; empty leaves the replica's as it is
	Run          string // id that logs and reports name it by; empty for none
}

// Feed brings the stream, from its first byte to its end, to a unix socket on the
// target, and returns when the target has read that end. An error that is about
// where the stream comes from is an [*Error] of KindInput.
type Feed func(ctx context.Context, socket string) error

// Receive makes a stream, whose header is in, a state of the target's replica. dst
// must be fresh; Receive does not close it. It returns a summary only when the state
// is durable; an error after that comes with the summary.
func Receive(ctx context.Context, req ReceiveRequest, in *Incoming, dst TargetEnd, feed Feed, out event.Sink) (*event.Summary, error) {
	r := &receiving{req: req, in: in, dst: dst, feed: feed, out: out, start: time.Now()}
	if r.req.TargetDomain == "" {
		r.req.TargetDomain = in.Domain
	}
	for _, step := range []struct {
		phase event.Phase
		do    func(context.Context) error
	}{
		{event.PhaseInspect, r.look},
		{event.PhaseBegin, r.prepare},
		{event.PhaseTransfer, r.transfer},
		{event.PhaseCommit, r.commit},
	} {
		if err := Phase(out, step.phase, func() error { return step.do(ctx) }); err != nil {
			return nil, err
		}
	}
	err := Phase(out, event.PhaseFinish, func() error { return settle(ctx, dst, out) })
	if err != nil {
		err = fmt.Errorf("state %s is stored, but the target could not be settled: %w", r.sum.State, err)
	}
	r.sum.Duration = time.Since(r.start)
	return r.sum, err
}

// receiving is one stream on its way into a store.
type receiving struct {
	req   ReceiveRequest
	in    *Incoming
	dst   TargetEnd
	feed  Feed
	out   event.Sink
	start time.Time

	plan     *PrepareRequest
	prepared *Prepared
	received *StreamResult
	moved    time.Duration
	sum      *event.Summary
}

// look opens the replica and decides whether the stream fits.
func (r *receiving) look(ctx context.Context) error {
	view, err := r.dst.Open(ctx, OpenRequest{Store: r.req.Store, TargetDomain: r.req.TargetDomain, Run: r.req.Run})
	if err != nil {
		return err
	}
	tellCleaned(r.out, "target", view.Cleaned)
	for _, w := range view.Warnings {
		r.out.Emit(event.Warning{Message: w})
	}
	r.plan, err = DecideReceive(r.in, view)
	return err
}

func (r *receiving) prepare(ctx context.Context) (err error) {
	r.prepared, err = r.dst.Prepare(ctx, *r.plan, newProgress(r.out).sent)
	return err
}

// transfer feeds the stream to the target, which verifies it.
func (r *receiving) transfer(ctx context.Context) error {
	start := time.Now()
	defer func() { r.moved = time.Since(start) }()
	errs := together(ctx, func(ctx context.Context) (err error) {
		r.received, err = r.dst.Wait(ctx, newProgress(r.out).sent)
		return err
	}, func(ctx context.Context) error {
		return r.feed(ctx, r.prepared.Socket)
	})
	if errs[0] == nil {
		return nil // and how the feed ended is no matter
	}
	return explainStream(chooseError(ctx, errs...))
}

// explainStream says what to do about a stream that is cut off or damaged. To the
// target an end that comes too early looks like a connection that broke.
func explainStream(err error) error {
	if kind := KindOf(err); kind != KindPeer && kind != KindStream {
		return err
	}
	e := *AsError(err)
	e.Kind, e.Hint = KindStream, "the replica is as it was; `vmsync stream verify` says what is wrong with the stream: get it again"
	return &e
}

// commit makes the state durable.
func (r *receiving) commit(ctx context.Context) error {
	s := r.in.State
	committed, err := r.dst.Commit(ctx, CommitRequest{Time: s.Time, Consistency: s.Consistency, Frozen: s.Frozen(),
		SourceDomain: r.in.Domain, SourceUUID: s.Source.UUID, SourceHost: s.Source.Host, SourceHostID: s.Source.HostID,
		DomainXML: s.DomainXML, Disks: r.received.Disks, LeftOut: s.LeftOut, Keep: r.req.Keep, NVRAM: s.NVRAM, TPM: s.TPM})
	if err != nil {
		return err
	}
	plan := r.in.plan()
	r.sum = &event.Summary{Run: r.req.Run, Domain: r.in.Domain, State: committed.State, Checkpoint: r.in.Checkpoint, Kind: plan.Kind(),
		Consistency: string(s.Consistency), Traffic: traffic(r.received.Traffic), Transfer: r.moved, Frozen: s.Frozen()}
	sumUp(r.sum, plan, r.received)
	return nil
}
