package remote

import (
	"context"
	"fmt"
	"slices"

	"vmsync/replicator"
)

// Source is the source end at the other side of a connection.
type Source struct{ *Conn }

// Target is the target end at the other side of a connection.
type Target struct{ *Conn }

var (
	_ replicator.SourceEnd = Source{}
	_ replicator.TargetEnd = Target{}
)

func call[Resp any](ctx context.Context, c *Conn, method string, req any) (*Resp, error) {
	resp := new(Resp)
	if err := c.call(ctx, method, req, resp); err != nil {
		return nil, err
	}
	return resp, nil
}

// watched is a call that reports progress while it lasts.
func watched[Resp any](ctx context.Context, c *Conn, method string, req any, progress func(replicator.Progress)) (*Resp, error) {
	c.onProgress(progress)
	defer c.onProgress(nil)
	return call[Resp](ctx, c, method, req)
}

// List implements replicator.SourceEnd.
func (s Source) List(ctx context.Context) ([]replicator.SourceDomain, error) {
	all, err := call[[]replicator.SourceDomain](ctx, s.Conn, methodList, struct{}{})
	if err != nil {
		return nil, err
	}
	return *all, nil
}

// Peek implements replicator.SourceEnd.
func (s Source) Peek(ctx context.Context, marks []replicator.Mark) ([]replicator.Peek, error) {
	peeks, err := call[[]replicator.Peek](ctx, s.Conn, methodPeek, peekRequest{marks})
	if err == nil && len(*peeks) != len(marks) {
		err = fmt.Errorf("%s tells of %d domains and was asked for %d", s.proc.Host, len(*peeks), len(marks))
	}
	if err != nil {
		return nil, err
	}
	return *peeks, nil
}

// Inspect implements replicator.SourceEnd. The view's warnings are also about the way there.
func (s Source) Inspect(ctx context.Context, r replicator.InspectRequest) (*replicator.SourceView, error) {
	view, err := call[replicator.SourceView](ctx, s.Conn, methodInspect, r)
	if err != nil {
		return nil, err
	}
	view.Warnings = append(slices.Clone(s.proc.Warnings), view.Warnings...)
	return view, nil
}

// Changed implements replicator.SourceEnd.
func (s Source) Changed(ctx context.Context, checkpoint string) (map[string]int64, error) {
	changed, err := call[map[string]int64](ctx, s.Conn, methodChanged, changedRequest{checkpoint})
	if err != nil {
		return nil, err
	}
	return *changed, nil
}

// TakeKnown implements replicator.SourceEnd.
func (s Source) TakeKnown(ctx context.Context, r replicator.KnownPart) error {
	_, err := call[struct{}](ctx, s.Conn, methodTake, r)
	return err
}

// Begin implements replicator.SourceEnd.
func (s Source) Begin(ctx context.Context, r replicator.BeginRequest) (*replicator.Begun, error) {
	return call[replicator.Begun](ctx, s.Conn, methodBegin, r)
}

// Ready implements replicator.SourceSteps.
func (s Source) Ready(ctx context.Context, r replicator.BeginRequest) error {
	_, err := call[struct{}](ctx, s.Conn, methodReady, r)
	return err
}

// Freeze implements replicator.SourceSteps.
func (s Source) Freeze(ctx context.Context) error {
	_, err := call[struct{}](ctx, s.Conn, methodFreeze, struct{}{})
	return err
}

// Checkpoint implements replicator.SourceSteps.
func (s Source) Checkpoint(ctx context.Context) error {
	_, err := call[struct{}](ctx, s.Conn, methodCheckpoint, struct{}{})
	return err
}

// Thaw implements replicator.SourceSteps.
func (s Source) Thaw(ctx context.Context) (*replicator.Begun, error) {
	return call[replicator.Begun](ctx, s.Conn, methodThaw, struct{}{})
}

// Release implements replicator.SourceSteps.
func (s Source) Release(ctx context.Context) error {
	_, err := call[struct{}](ctx, s.Conn, methodRelease, struct{}{})
	return err
}

// Wait implements replicator.SourceEnd.
func (s Source) Wait(ctx context.Context, progress func(replicator.Progress)) (*replicator.StreamResult, error) {
	return watched[replicator.StreamResult](ctx, s.Conn, methodSent, struct{}{}, progress)
}

// Hashed implements replicator.SourceEnd.
func (s Source) Hashed(ctx context.Context, r replicator.KnownRequest) (*replicator.KnownPart, error) {
	return call[replicator.KnownPart](ctx, s.Conn, methodHashed, r)
}

// Finish implements replicator.SourceEnd.
func (s Source) Finish(ctx context.Context, drop []string) error {
	_, err := call[struct{}](ctx, s.Conn, methodFinish, finishRequest{Drop: drop})
	return err
}

// Abandon implements replicator.SourceEnd.
func (s Source) Abandon(ctx context.Context) error {
	_, err := call[struct{}](ctx, s.Conn, methodAbandon, struct{}{})
	return err
}

// Hook implements replicator.SourceEnd.
func (s Source) Hook(ctx context.Context, r replicator.HookRequest, output func(string)) error {
	return hook(ctx, s.Conn, methodOnSource, r, output)
}

// Open implements replicator.TargetEnd.
func (t Target) Open(ctx context.Context, r replicator.OpenRequest) (*replicator.TargetView, error) {
	return call[replicator.TargetView](ctx, t.Conn, methodOpen, r)
}

// Prepare implements replicator.TargetEnd.
func (t Target) Prepare(ctx context.Context, r replicator.PrepareRequest, progress func(replicator.Progress)) (*replicator.Prepared, error) {
	return watched[replicator.Prepared](ctx, t.Conn, methodPrepare, r, progress)
}

// Known implements replicator.TargetEnd.
func (t Target) Known(ctx context.Context, r replicator.KnownRequest) (*replicator.KnownPart, error) {
	return call[replicator.KnownPart](ctx, t.Conn, methodKnown, r)
}

// Wait implements replicator.TargetEnd.
func (t Target) Wait(ctx context.Context, progress func(replicator.Progress)) (*replicator.StreamResult, error) {
	return watched[replicator.StreamResult](ctx, t.Conn, methodReceived, struct{}{}, progress)
}

// Commit implements replicator.TargetEnd.
func (t Target) Commit(ctx context.Context, r replicator.CommitRequest) (*replicator.Committed, error) {
	return call[replicator.Committed](ctx, t.Conn, methodCommit, r)
}

// Settle implements replicator.TargetEnd.
func (t Target) Settle(ctx context.Context) (*replicator.Settled, error) {
	return call[replicator.Settled](ctx, t.Conn, methodSettle, struct{}{})
}

// Hook implements replicator.TargetEnd.
func (t Target) Hook(ctx context.Context, r replicator.HookRequest, output func(string)) error {
	return hook(ctx, t.Conn, methodOnTarget, r, output)
}
