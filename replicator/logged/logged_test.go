package logged

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"vmsync/replicator"
)

// source and target ends that do nothing, and fail if they are told to.
type (
	sourceEnd struct {
		replicator.SourceEnd
		err error
	}
	targetEnd struct {
		replicator.TargetEnd
		err error
	}
)

func (e sourceEnd) Inspect(context.Context, replicator.InspectRequest) (*replicator.SourceView, error) {
	return &replicator.SourceView{Name: "vm1", Cleaned: []string{"a backup job"}}, nil
}

func (e sourceEnd) Begin(context.Context, replicator.BeginRequest) (*replicator.Begun, error) {
	return &replicator.Begun{Consistency: "filesystem", Frozen: 31400 * time.Microsecond}, e.err
}

func (e sourceEnd) Finish(context.Context, []string) error { return e.err }

func (e targetEnd) Open(context.Context, replicator.OpenRequest) (*replicator.TargetView, error) {
	return &replicator.TargetView{}, nil
}

func (e targetEnd) Commit(context.Context, replicator.CommitRequest) (*replicator.Committed, error) {
	return &replicator.Committed{State: "2026-03-01T120000Z"}, e.err
}

func (e targetEnd) Settle(context.Context) (*replicator.Settled, error) {
	return &replicator.Settled{}, e.err
}

// logOf is what both ends log of a run.
func logOf(t *testing.T, fails error, run string) string {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	src, dst := Source(sourceEnd{err: fails}, log), Target(targetEnd{err: fails}, log)
	ctx := t.Context()
	if _, err := src.Inspect(ctx, replicator.InspectRequest{Domain: "0a1b", Run: run}); err != nil {
		t.Fatal(err)
	}
	if _, err := dst.Open(ctx, replicator.OpenRequest{TargetDomain: "vm1-replica", Run: run}); err != nil {
		t.Fatal(err)
	}
	_, begin := src.Begin(ctx, replicator.BeginRequest{Checkpoint: "vmsync-1-2"})
	_, commit := dst.Commit(ctx, replicator.CommitRequest{})
	_, settle := dst.Settle(ctx)
	for _, err := range []error{begin, commit, settle, src.Finish(ctx, []string{"old"})} {
		if !errors.Is(err, fails) {
			t.Errorf("an end returns %v", err)
		}
	}
	return out.String()
}

func TestBothEndsTellTheirHostsLogOfTheRun(t *testing.T) {
	lines := strings.Split(strings.TrimSpace(logOf(t, nil, "4f1c09ab77d2")), "\n")
	want := []string{
		`level=WARN msg="left by a run that died, and ended now: a backup job" DOMAIN=vm1 RUN=4f1c09ab77d2`,
		`level=INFO msg="backup begun" DOMAIN=vm1 RUN=4f1c09ab77d2 checkpoint=vmsync-1-2 consistency=filesystem frozen=31ms`,
		`level=INFO msg="state stored" DOMAIN=vm1-replica RUN=4f1c09ab77d2 state=2026-03-01T120000Z`,
		`level=INFO msg="backup ended" DOMAIN=vm1 RUN=4f1c09ab77d2 dropped=1`,
	}
	if len(lines) != len(want) {
		t.Fatalf("%q", lines)
	}
	for i, line := range lines {
		if !strings.HasSuffix(line, want[i]) {
			t.Errorf("%s\nwant %s", line, want[i])
		}
	}
}

func TestFailuresAreLoggedAndPassedOn(t *testing.T) {
	log := logOf(t, &replicator.Error{Kind: replicator.KindNoSpace, Op: "write", Err: errors.New("no space left")}, "")
	if n := strings.Count(log, "level=ERROR"); n != 4 || strings.Count(log, "kind=no-space") != 4 || strings.Contains(log, "RUN=") {
		t.Error(log)
	}
}
