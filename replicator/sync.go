package replicator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"vmsync/internal/event"
	"vmsync/internal/transport"
)

// Request says what to replicate.
type Request struct {
	Run          string // id, for logs and for who reads Synced; may be empty
	Domain       string // name or UUID on the source
	SourceHost   string // as the user named it, for people
	TargetHost   string // as the user named it, for people
	TargetDomain string // empty: the source's name
	Store        string // absolute path on the target
	Compress     string // see spec.Serve
	Rate         int64  // bytes of stream per second; 0 is no limit
	Transport    transport.Transport
	Keep         string // retention policy from now on; empty leaves the replica's as it is
	Options      Options
	// Quiesce and FreezeMountpoints are as in [BeginRequest].
	Quiesce           Quiesce
	FreezeMountpoints []string
	// MinChanged and SkipUnchanged have nothing begun where too little has changed since
	// the head: fewer bytes than MinChanged, or with SkipUnchanged none. Only where every
	// disk is incremental and the source can tell; otherwise the run goes on.
	MinChanged    int64
	SkipUnchanged bool
	Hooks         Hooks
	// Seat is the machine's where it is synced together with others of a group: the
	// checkpoints are taken together, and a state is made of each if there is enough for
	// one of any. Nil is by itself.
	Seat *Seat
}

// Synced is what a sync came to. One of its first two fields is set.
type Synced struct {
	Summary *event.Summary // a new state
	Skipped *event.Skipped // nothing was begun
	Mark    *Mark          // of the head, if nothing is left to do
}

// Relay moves a stream from a unix socket on the source to one on the target, over
// so many connections to each, and returns when both directions of all have ended or
// ctx is done.
type Relay func(ctx context.Context, sourceSocket, targetSocket string, lanes int) error

// Sync replicates once. Both ends must be fresh; Sync closes neither. It
// returns a summary only when the new state is durable on the target. An error
// after that moment (a checkpoint that could not be deleted, a domain that could
// not be defined, a hook that failed) comes with the summary. Of any other error
// Synced is empty. When ctx ends, hooks that are still to run have 30 s.
func Sync(ctx context.Context, req Request, src SourceEnd, dst TargetEnd, relay Relay, out event.Sink) (Synced, error) {
	defer req.Seat.Leave()
	r := &run{req: req, src: src, dst: dst, relay: relay, out: out, start: time.Now()}
	var stop context.CancelFunc
	r.late, stop = outlasting(ctx, lastHooks, errNoTime)
	defer stop()
	err := r.end(ctx, r.steps(ctx))
	switch {
	case r.sum != nil:
		r.sum.Duration = time.Since(r.start)
	case r.skipped != nil:
		r.skipped.Duration = time.Since(r.start)
	}
	return Synced{Summary: r.sum, Skipped: r.skipped, Mark: r.markOf(err)}, err
}

// steps goes through the phases.
func (r *run) steps(ctx context.Context) error {
	for _, step := range []struct {
		phase event.Phase
		do    func(context.Context) error
	}{
		{event.PhaseInspect, r.look},
		{event.PhaseBegin, r.begin},
		{event.PhaseTransfer, r.transfer},
		{event.PhaseCommit, r.commit},
	} {
		if err := Phase(r.out, step.phase, func() error { return step.do(ctx) }); err != nil || r.skipped != nil {
			return err
		}
	}
	return Phase(r.out, event.PhaseFinish, func() error { return r.finish(ctx) })
}

// run is one replication on its way.
type run struct {
	req   Request
	src   SourceEnd
	dst   TargetEnd
	relay Relay
	out   event.Sink
	start time.Time

	source   *SourceView
	target   *TargetView
	plan     *Plan
	skipped  *event.Skipped // too little has changed to go on
	prepared *Prepared      // by the plan
	beginReq BeginRequest
	begun    *Begun
	sent     *StreamResult
	moved    time.Duration // how long the transfer took
	sum      *event.Summary

	late       context.Context // of hooks that run however the run ends
	reached    bool            // the run got to where hooks run
	hookFailed bool            // one that the run fails of, before the transfer
}

// Phase runs one phase of a run and tells of it.
func Phase(out event.Sink, phase event.Phase, do func() error) error {
	start := time.Now()
	out.Emit(event.PhaseStarted{Phase: phase})
	err := do()
	if err == nil {
		out.Emit(event.PhaseFinished{Phase: phase, Duration: time.Since(start)})
	}
	return err
}

// look inspects both ends and makes the plan.
func (r *run) look(ctx context.Context) (err error) {
	if r.source, err = r.src.Inspect(ctx, InspectRequest{Domain: r.req.Domain, Run: r.req.Run}); err != nil {
		return err
	}
	tellCleaned(r.out, "source", r.source.Cleaned)
	if r.req.TargetDomain == "" {
		r.req.TargetDomain = r.source.Name
	}
	if r.target, err = r.dst.Open(ctx, OpenRequest{Store: r.req.Store, TargetDomain: r.req.TargetDomain, Run: r.req.Run}); err != nil {
		return err
	}
	tellCleaned(r.out, "target", r.target.Cleaned)
	for _, w := range slices.Concat(r.source.Warnings, r.target.Warnings) {
		r.out.Emit(event.Warning{Message: w})
	}
	if r.source.HostID == r.target.HostID && r.req.TargetDomain == r.source.Name {
		return &Error{Kind: KindUsage, Domain: r.source.Name, Op: "compare both ends",
			Hint: "give the replica another name with --target-domain",
			Err:  errors.New("source and target are the same host")}
	}
	if r.plan, err = Decide(r.source, r.target, r.req.Options); err != nil {
		return err
	}
	if r.target.Head == nil {
		tellOtherPairs(r.out, r.source, r.target.Pair)
	}
	tellLeftOut(r.out, r.plan)
	return r.weigh(ctx)
}

// begin prepares the target and opens the backup on the source. Where the
// parent's bitmaps turn out to be unusable, or what the target holds turns out to be
// damaged, it starts over without.
func (r *run) begin(ctx context.Context) error {
	for again := 0; ; again++ {
		err := r.tryBegin(ctx)
		var e *Error
		why, unusable := parentUnusable(r.out, r.plan, err)
		switch {
		case err == nil || r.hookFailed || again > len(r.plan.Disks):
			return err
		case errors.Is(err, errAgain):
			again-- // those who make it necessary are few
		case unusable:
			r.plan = r.plan.WithoutParent(why)
			r.prepared = nil
		case errors.As(err, &e) && e.Kind == KindDamaged && e.Disk != "":
			r.out.Emit(event.Warning{Message: e.Text(), Disk: e.Disk})
			r.plan = r.plan.WithFull(e.Disk, "what the store holds is damaged")
			r.prepared = nil
		default:
			return err
		}
	}
}

func (r *run) tryBegin(ctx context.Context) error {
	// What is prepared for the plan stays so while other members of a group begin again.
	if r.prepared == nil {
		if err := r.prepare(ctx); err != nil {
			return err
		}
	}
	err := r.bracketed(ctx, func() error { return r.beginSource(ctx, r.beginReq) })
	if err != nil {
		return err
	}
	if err := r.checkTransport(); err != nil {
		return err
	}
	tellBegun(r.out, r.begun)
	return sameDisks(r.source.Name, r.plan, r.begun)
}

// prepare gets the target ready, and the request to the source.
func (r *run) prepare(ctx context.Context) (err error) {
	tellFull(r.out, r.plan)
	prepare := PrepareRequest{Generation: r.plan.Generation, Domain: r.source.Name, Checkpoint: r.plan.Checkpoint, Parent: r.plan.Parent,
		Lanes: lanes, Direct: r.listenDirect(), Resume: true, Patience: r.hookPatience()}
	if r.req.Seat != nil {
		prepare.Patience += patienceTogether
	}
	for _, d := range r.plan.Disks {
		prepare.Disks = append(prepare.Disks, PrepareDisk{Name: d.Name, Size: d.Size, Incremental: d.Incremental, Resync: d.Resync})
	}
	begin := beginRequest(r.plan, r.req.Compress)
	begin.Rate, begin.Lanes, begin.Patience = r.req.Rate, lanes, r.hookPatience()
	begin.Quiesce, begin.FreezeMountpoints = r.req.Quiesce, r.req.FreezeMountpoints
	prepared, err := r.dst.Prepare(ctx, prepare, newProgress(r.out).sent)
	if err != nil {
		return err
	}
	begin.Direct = prepared.Direct
	if err := r.handKnown(ctx, prepared.Known, &begin); err != nil {
		return err
	}
	r.prepared, r.beginReq = prepared, begin
	return nil
}

// beginSource has the source begin, together with others or by itself.
func (r *run) beginSource(ctx context.Context, begin BeginRequest) (err error) {
	if r.req.Seat != nil {
		return r.beginTogether(ctx, begin)
	}
	r.begun, err = r.src.Begin(ctx, begin)
	return err
}

// transfer moves the stream and waits for both ends to agree on it.
//
// When one end fails the others see no more than a closed connection, and end as
// well. What the failing end has to say is the best error, so it gets some time
// before the rest is cancelled.
func (r *run) transfer(ctx context.Context) error {
	ctx, stall, stop := watchStall(ctx, r.source.Name, stallLimit)
	defer stop()
	parts, cancel := context.WithCancel(ctx)
	defer cancel()
	start := time.Now()
	told := newProgress(r.out)
	var received *StreamResult
	var sourceErr, targetErr, relayErr error
	failed := func(err error) {
		if err != nil {
			time.AfterFunc(lastWords, cancel)
		}
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		r.sent, sourceErr = r.src.Wait(parts, stall.over(sourceSide, told.sent))
		failed(sourceErr)
	})
	wg.Go(func() {
		received, targetErr = r.dst.Wait(parts, stall.over(targetSide, told.written))
		failed(targetErr)
	})
	if !r.begun.Direct {
		wg.Go(func() {
			relayErr = r.relay(parts, r.begun.Socket, r.prepared.Socket, lanes)
			failed(relayErr)
		})
	}
	wg.Wait()
	r.moved = time.Since(start)
	if sourceErr != nil {
		return chooseError(ctx, sourceErr, targetErr, relayErr)
	}
	if targetErr != nil {
		r.abandon(ctx)
		return chooseError(ctx, targetErr, relayErr)
	}
	// Both ends are done and agree, or they are not: how the relay ended is no matter.
	if err := agree(r.sent, received); err != nil {
		r.abandon(ctx)
		return &Error{Kind: KindStream, Domain: r.source.Name, Op: "compare both ends' digests",
			Hint: "run the sync again; if this repeats, suspect memory or the network path", Err: err}
	}
	return nil
}

// abandon tells the source, which has handed over all of the stream, that nothing came
// of it. The state was not committed, and without this run it never is. A source that
// does not hear of it keeps the checkpoint until the next run.
func (r *run) abandon(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
	defer cancel()
	if err := r.src.Abandon(ctx); err != nil {
		r.out.Emit(event.Warning{Message: fmt.Sprintf("checkpoint %s stays on the source until the next sync: %v", r.plan.Checkpoint, err)})
	}
}

// lastWords is how long the parts of a transfer go on once one has failed.
const lastWords = 10 * time.Second

// chooseError picks the error that says most about why a transfer failed: when
// one end breaks, the others see no more than a closed connection.
func chooseError(ctx context.Context, errs ...error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	best, rank := error(nil), -1
	for _, err := range errs {
		if err == nil {
			continue
		}
		n := 1
		var e *Error
		switch {
		case errors.Is(err, context.Canceled):
			n = 0
		case errors.As(err, &e) && e.Kind != KindPeer:
			n = 2
		}
		if n > rank {
			best, rank = err, n
		}
	}
	return best
}

// agree checks that both ends saw the same stream.
func agree(sent, received *StreamResult) error {
	byName := func(a, b DiskResult) int { return strings.Compare(a.Name, b.Name) }
	if !slices.EqualFunc(slices.SortedFunc(slices.Values(sent.Disks), byName), slices.SortedFunc(slices.Values(received.Disks), byName), DiskResult.SameStream) {
		return fmt.Errorf("source sent %+v, target received %+v", sent.Disks, received.Disks)
	}
	for _, s := range sent.Disks {
		i := slices.IndexFunc(received.Disks, func(r DiskResult) bool { return r.Name == s.Name })
		// A source that has looked at all of a disk knows what the target must hold now.
		if r := received.Disks[i]; s.Content != "" && s.Content != r.Content {
			return fmt.Errorf("disk %s: the source's content is %s, the target's is %s", s.Name, s.Content, r.Content)
		}
	}
	return nil
}

// commit makes the state durable.
func (r *run) commit(ctx context.Context) error {
	set, err := r.set(ctx)
	if err != nil {
		r.abandon(ctx)
		return err
	}
	req := r.commitRequest()
	req.Group = set
	committed, err := r.dst.Commit(ctx, req)
	if err != nil {
		return err
	}
	r.sum = r.summary(committed)
	r.sum.Group = (*event.Group)(set)
	return nil
}

// finish lets the source go on without the old checkpoint and settles the target,
// both at once: neither has to do with the other, and neither keeps the other from
// being tried.
func (r *run) finish(ctx context.Context) error {
	stored := func(end string, err error) error {
		if err != nil {
			err = fmt.Errorf("state %s is stored, but the %s could not be settled: %w", r.sum.State, end, err)
		}
		return err
	}
	var sourceErr, targetErr error
	var wg sync.WaitGroup
	wg.Go(func() { sourceErr = r.src.Finish(ctx, r.plan.Drop) })
	wg.Go(func() { targetErr = settle(ctx, r.dst, r.out) })
	wg.Wait()
	return errors.Join(stored("source", sourceErr), stored("target", targetErr))
}

// settle settles the target and tells what is left.
func settle(ctx context.Context, dst TargetEnd, out event.Sink) error {
	settled, err := dst.Settle(ctx)
	if err != nil {
		return err
	}
	for _, w := range settled.Warnings {
		out.Emit(event.Warning{Message: w})
	}
	return nil
}

func (r *run) commitRequest() CommitRequest {
	c := CommitRequest{Time: r.begun.Time, Consistency: r.begun.Consistency, Frozen: r.begun.Frozen,
		SourceDomain: r.source.Name, SourceUUID: r.source.UUID, SourceHost: r.req.SourceHost, SourceHostID: r.source.HostID,
		DomainXML: r.begun.DomainXML, Disks: r.sent.Disks, NVRAM: r.begun.NVRAM, TPM: r.begun.TPM}
	c.LeftOut, c.Keep = leftOutNames(r.plan), r.req.Keep
	return c
}

func (r *run) summary(c *Committed) *event.Summary {
	transport, notDirect := r.way()
	s := &event.Summary{Run: r.req.Run, Domain: r.source.Name, State: c.State, Kind: r.plan.Kind(),
		Consistency: string(r.begun.Consistency), Transport: transport, NotDirect: notDirect,
		Traffic: traffic(r.sent.Traffic), Transfer: r.moved, Frozen: r.begun.Frozen}
	sumUp(s, r.plan, r.sent)
	return s
}
