// Package logged has the ends of a replication tell a log what they do to a machine: when a
// guest was frozen, when a checkpoint was made, when a state was stored, each with the run's
// id. An agent logs so on its own host, where people look who know nothing of the
// controller.
//
// The package must never change what an end does.
package logged

import (
	"context"
	"log/slog"
	"time"

	"vmsync/replicator"
)

// Fields of the log.
const (
	fieldDomain = "DOMAIN"
	fieldRun    = "RUN"
)

// Source is a source end that logs.
func Source(end replicator.SourceEnd, log *slog.Logger) replicator.SourceEnd {
	return &source{SourceEnd: end, log: log, run: log}
}

type source struct {
	replicator.SourceEnd
	log *slog.Logger
	run *slog.Logger // log, with the run's fields once they are known

	checkpoint string // of the last Ready
}

func (s *source) Inspect(ctx context.Context, req replicator.InspectRequest) (*replicator.SourceView, error) {
	view, err := s.SourceEnd.Inspect(ctx, req)
	if err == nil {
		s.run = runLog(s.log, view.Name, req.Run)
	}
	for i := 0; err == nil && !req.ReadOnly && i < len(view.Cleaned); i++ {
		s.run.Warn("left by a run that died, and ended now: " + view.Cleaned[i])
	}
	return view, err
}

func (s *source) Begin(ctx context.Context, req replicator.BeginRequest) (*replicator.Begun, error) {
	b, err := s.SourceEnd.Begin(ctx, req)
	return b, s.begun(req.Checkpoint, b, err)
}

func (s *source) Ready(ctx context.Context, req replicator.BeginRequest) error {
	s.checkpoint = req.Checkpoint
	return s.step(s.SourceEnd.Ready(ctx, req))
}

func (s *source) Freeze(ctx context.Context) error { return s.step(s.SourceEnd.Freeze(ctx)) }

func (s *source) Checkpoint(ctx context.Context) error { return s.step(s.SourceEnd.Checkpoint(ctx)) }

func (s *source) Thaw(ctx context.Context) (*replicator.Begun, error) {
	b, err := s.SourceEnd.Thaw(ctx)
	return b, s.begun(s.checkpoint, b, err)
}

// step tells of one of a Begin in steps that failed.
func (s *source) step(err error) error {
	if err != nil {
		failed(s.run, "backup cannot begin", err)
	}
	return err
}

func (s *source) begun(checkpoint string, b *replicator.Begun, err error) error {
	if err == nil {
		s.run.Info("backup begun", "checkpoint", checkpoint, "consistency", string(b.Consistency), "frozen", b.Frozen.Round(time.Millisecond))
	}
	return s.step(err)
}

func (s *source) Finish(ctx context.Context, drop []string) error {
	err := s.SourceEnd.Finish(ctx, drop)
	if err != nil {
		failed(s.run, "backup cannot be ended", err)
		return err
	}
	s.run.Info("backup ended", "dropped", len(drop))
	return nil
}

// Target is a target end that logs.
func Target(end replicator.TargetEnd, log *slog.Logger) replicator.TargetEnd {
	return &target{TargetEnd: end, log: log, run: log}
}

type target struct {
	replicator.TargetEnd
	log *slog.Logger
	run *slog.Logger // as that of source
}

func (t *target) Open(ctx context.Context, req replicator.OpenRequest) (*replicator.TargetView, error) {
	t.run = runLog(t.log, req.TargetDomain, req.Run)
	view, err := t.TargetEnd.Open(ctx, req)
	for i := 0; err == nil && !req.ReadOnly && i < len(view.Cleaned); i++ {
		t.run.Warn("left by a run that died, and put right now: " + view.Cleaned[i])
	}
	return view, err
}

func (t *target) Commit(ctx context.Context, req replicator.CommitRequest) (*replicator.Committed, error) {
	c, err := t.TargetEnd.Commit(ctx, req)
	if err != nil {
		failed(t.run, "state cannot be stored", err)
		return c, err
	}
	t.run.Info("state stored", "state", c.State)
	return c, nil
}

func (t *target) Settle(ctx context.Context) (*replicator.Settled, error) {
	s, err := t.TargetEnd.Settle(ctx)
	if err != nil {
		failed(t.run, "replica cannot be settled", err)
	}
	return s, err
}

// runLog logs with a run's fields. A run of an old controller has no id.
func runLog(log *slog.Logger, domain, run string) *slog.Logger {
	log = log.With(fieldDomain, domain)
	if run != "" {
		log = log.With(fieldRun, run)
	}
	return log
}

func failed(log *slog.Logger, what string, err error) {
	e := replicator.AsError(err)
	log.Error(what+": "+e.Text(), "kind", e.Kind)
}
