// Package session is the life of one vmsync-nbd process: it takes the agent's
// document from stdin, offers the unix socket, reports events on stdout, and stops
// when stdin ends.
//
// It moves no data itself; export and apply do. It must never report done before
// the work is, nor anything after done or failed.
package session

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"vmsync/nbdproxy/spec"
)

// IO is what a session is connected to.
type IO struct {
	In  io.Reader // the document, then nothing; its end stops the session
	Out io.Writer // events
	Log *slog.Logger
}

// maxDocument bounds the document on stdin, in bytes.
const maxDocument = 1 << 20

var errStopped = &failure{kind: spec.KindStopped, err: errors.New("stdin was closed: the agent is gone or has cancelled")}

// Serve reads exports and offers them as a stream. It returns an error if the
// failed event was emitted, nil if the done event was.
func Serve(ctx context.Context, s IO) error { return run(ctx, s, serveStream) }

// Apply takes a stream and writes it to NBD servers. It returns as [Serve] does.
func Apply(ctx context.Context, s IO) error { return run(ctx, s, applyStream) }

// Hash makes block indexes of exports. It returns as [Serve] does.
func Hash(ctx context.Context, s IO) error { return run(ctx, s, hashDisks) }

// result is what a done event reports.
type result struct {
	disks   []spec.DiskResult
	traffic spec.Traffic
}

// body is one mode of the program. Its context ends when stdin does.
type body func(ctx context.Context, doc []byte, ev *emitter, log *slog.Logger) (*result, error)

func run(ctx context.Context, s IO, b body) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ev := &emitter{out: s.Out}
	res, err := execute(ctx, cancel, s, b, ev)
	if err == nil {
		err = ev.emit(spec.Event{Event: spec.EventDone, Disks: res.disks, Traffic: &res.traffic})
		return err
	}
	// What ended the context is the reason, and the error what that led to: unless
	// there was nothing to end yet.
	if cause, kind := context.Cause(ctx), describe(err).Kind; cause != nil && kind != spec.KindSpec {
		err = cause
	}
	f := describe(err)
	s.Log.Error("failed", "kind", f.Kind, "disk", f.Disk, "error", f.Message)
	return errors.Join(err, ev.emit(spec.Event{Event: spec.EventFailed, Error: f}))
}

func execute(ctx context.Context, cancel context.CancelCauseFunc, s IO, b body, ev *emitter) (*result, error) {
	lines := watch(s.In, cancel)
	var line firstLine
	select {
	case line = <-lines:
	case <-ctx.Done():
		// A wrong document is worth reporting even if stdin ended right after it.
		select {
		case line = <-lines:
		default:
			return nil, context.Cause(ctx)
		}
	}
	if line.err != nil {
		return nil, line.err
	}
	return b(ctx, line.doc, ev, s.Log)
}

type firstLine struct {
	doc []byte
	err error
}

// watch reads the first line of in, then waits for its end, which cancels. A read
// of stdin cannot be interrupted, so this goroutine may outlive the session and
// ends with the process.
func watch(in io.Reader, cancel context.CancelCauseFunc) <-chan firstLine {
	c := make(chan firstLine, 1)
	go func() {
		r := bufio.NewReaderSize(in, 64<<10)
		doc, err := readLine(r)
		c <- firstLine{doc, err}
		if err == nil {
			_, _ = io.Copy(io.Discard, r)
			cancel(errStopped)
		}
	}()
	return c
}

// readLine reads a line of at most maxDocument bytes.
func readLine(r *bufio.Reader) ([]byte, error) {
	var doc []byte
	for {
		part, err := r.ReadSlice('\n')
		doc = append(doc, part...)
		switch {
		case len(doc) > maxDocument:
			return nil, specError(fmt.Errorf("the document on stdin is longer than %d bytes", maxDocument))
		case err == nil:
			return doc, nil
		case err == io.EOF && len(doc) == 0:
			return nil, errStopped
		case err == io.EOF:
			return nil, specError(errors.New("the document on stdin does not end with a newline"))
		case err != bufio.ErrBufferFull:
			return nil, fmt.Errorf("reading stdin: %w", err)
		}
	}
}
