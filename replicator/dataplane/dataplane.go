// Package dataplane runs vmsync-nbd for an end: it starts the program, hands it its
// document, follows its events and turns its failures into errors that a controller
// decides on.
//
// It must never look into the stream, and never leave the program running: a
// [Session] ends with the program, which also ends when this process does.
package dataplane

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"vmsync/internal/proc"
	"vmsync/nbdproxy/spec"
	"vmsync/replicator"
)

// Modes of vmsync-nbd.
const (
	Serve = "serve" // with a spec.Serve
	Apply = "apply" // with a spec.Apply
	// Hash is with a spec.Hash. It has nothing to be ready with: [Session.Ready] is not
	// to be called.
	Hash = "hash"
)

const (
	programName = "vmsync-nbd"
	maxLine     = 1 << 20 // of an event, in bytes
	maxDisks    = 1024    // whose progress is kept
	stopGrace   = 5 * time.Second
)

// Program returns the path of vmsync-nbd: beside this executable, else in PATH. The
// error is of kind program-missing.
func Program() (string, error) {
	if self, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(self), programName)
		if info, err := os.Stat(beside); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return beside, nil
		}
	}
	path, err := exec.LookPath(programName)
	if err != nil {
		return "", missing(err)
	}
	return path, nil
}

func missing(err error) error {
	host, hostErr := os.Hostname()
	if hostErr != nil {
		host = "this host"
	}
	return &replicator.Error{Kind: replicator.KindProgramMissing, Op: "find " + programName,
		Hint: "install it beside vmsync on " + host, Err: fmt.Errorf("it is not installed on %s: %w", host, err)}
}

// Session is one running vmsync-nbd. Its methods are safe for several goroutines;
// Ready, unless the mode has no ready event, and Wait are meant to be called once each, in
// this order.
type Session struct {
	process *proc.Process
	mode    string
	read    chan struct{} // closed when stdout has been read to its end

	mu      sync.Mutex
	changed chan struct{} // replaced and closed whenever what follows changes
	ready   *spec.Event
	disks   map[string]spec.Progress // latest of each disk
	done    *spec.Event
	failed  *spec.Error
	bad     error // an event that made no sense
}

// Start starts program with its document. ctx bounds the start only: the session
// goes on until it is done or stopped, and the caller must call Stop in the end.
func Start(ctx context.Context, program, mode string, doc any) (*Session, error) {
	line, err := json.Marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("encode the document for %s: %w", programName, err)
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("start %s %s: %w", programName, mode, context.Cause(ctx))
	}
	process, err := proc.Start(context.WithoutCancel(ctx), proc.Cmd{
		Argv: []string{program, mode}, Package: "vmsync", PipeStdin: true, PipeStdout: true, Grace: stopGrace,
	})
	if _, ok := errors.AsType[*proc.NotFoundError](err); ok {
		return nil, missing(err)
	}
	if err != nil {
		return nil, err
	}
	s := &Session{process: process, mode: mode, read: make(chan struct{}),
		changed: make(chan struct{}), disks: make(map[string]spec.Progress)}
	go s.follow()
	if err := s.send(append(line, '\n')); err != nil {
		stopped := s.process.Stop(stopGrace)
		<-s.read
		return nil, s.failure(errors.Join(fmt.Errorf("hand over the document: %w", err), stopped))
	}
	return s, nil
}

// send writes to a program that may not read.
func (s *Session) send(line []byte) error {
	if err := s.process.Stdin.SetWriteDeadline(time.Now().Add(stopGrace)); err != nil {
		return err
	}
	_, err := s.process.Stdin.Write(line)
	return err
}

// follow reads events until the program closes its stdout.
func (s *Session) follow() {
	defer close(s.read)
	defer s.process.Stdout.Close()
	in := bufio.NewScanner(s.process.Stdout)
	in.Buffer(make([]byte, 0, 64<<10), maxLine)
	for in.Scan() {
		line := bytes.TrimSpace(in.Bytes())
		if len(line) == 0 {
			continue
		}
		var event spec.Event
		err := json.Unmarshal(line, &event)
		s.update(func() {
			if err != nil {
				s.bad = fmt.Errorf("an event of %s cannot be read: %w", programName, err)
				return
			}
			s.take(event)
		})
	}
	if err := in.Err(); err != nil {
		s.update(func() { s.bad = fmt.Errorf("read the events of %s: %w", programName, err) })
		// Nobody reads any more: it must not block on its output.
		s.process.Signal(syscall.SIGTERM)
	}
}

func (s *Session) update(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	close(s.changed)
	s.changed = make(chan struct{})
}

// take records an event; mu is held.
func (s *Session) take(e spec.Event) {
	switch e.Event {
	case spec.EventReady:
		s.ready = &e
	case spec.EventProgress:
		if e.Progress == nil {
			s.bad = fmt.Errorf("a progress event of %s says nothing", programName)
		} else if _, known := s.disks[e.Progress.Disk]; known || len(s.disks) < maxDisks {
			s.disks[e.Progress.Disk] = *e.Progress
		}
	case spec.EventDone:
		if s.done = &e; e.Traffic == nil {
			s.bad = fmt.Errorf("the done event of %s does not say what was moved", programName)
		}
	case spec.EventFailed:
		if s.failed = e.Error; s.failed == nil {
			s.failed = &spec.Error{Kind: spec.KindOther, Message: "it failed without saying why"}
		}
	}
}

// Ready returns the ready event when it has come. A cancelled context leaves the
// session as it is.
func (s *Session) Ready(ctx context.Context) (spec.Event, error) {
	for {
		s.mu.Lock()
		ready, changed := s.ready, s.changed
		s.mu.Unlock()
		if ready != nil {
			return *ready, nil
		}
		select {
		case <-ctx.Done():
			return spec.Event{}, fmt.Errorf("wait for %s %s: %w", programName, s.mode, context.Cause(ctx))
		case <-s.process.Done():
			<-s.read
			if s.isReady() {
				continue // the stream was short; Wait tells the rest
			}
			return spec.Event{}, s.failure(s.process.Wait())
		case <-changed:
		}
	}
}

func (s *Session) isReady() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ready != nil
}

// Wait returns when the program has ended: its results and the stream's traffic, or
// an *replicator.Error. progress, unless nil, gets the latest of each disk, on the
// caller's goroutine. A cancelled context leaves the session as it is.
func (s *Session) Wait(ctx context.Context, progress func(spec.Progress)) ([]spec.DiskResult, spec.Traffic, error) {
	seen := make(map[string]spec.Progress)
	for {
		changed := s.report(seen, progress)
		select {
		case <-ctx.Done():
			return nil, spec.Traffic{}, fmt.Errorf("wait for %s %s: %w", programName, s.mode, context.Cause(ctx))
		case <-s.process.Done():
			<-s.read
			s.report(seen, progress)
			return s.result()
		case <-changed:
		}
	}
}

// report hands on what is new since it was last called with seen, and returns what
// is closed when there is more.
func (s *Session) report(seen map[string]spec.Progress, progress func(spec.Progress)) <-chan struct{} {
	s.mu.Lock()
	changed := s.changed
	var fresh []spec.Progress
	for name, p := range s.disks {
		if seen[name] != p {
			seen[name] = p
			fresh = append(fresh, p)
		}
	}
	s.mu.Unlock()
	if progress != nil {
		for _, p := range fresh {
			progress(p)
		}
	}
	return changed
}

// result is called when the program has ended and everything is read.
func (s *Session) result() ([]spec.DiskResult, spec.Traffic, error) {
	exit := s.process.Wait()
	s.mu.Lock()
	done := s.done
	clean := done != nil && s.failed == nil && s.bad == nil && exit == nil
	s.mu.Unlock()
	if !clean {
		return nil, spec.Traffic{}, s.failure(exit)
	}
	return done.Disks, *done.Traffic, nil
}

// failure makes the error of a program that ended without being done.
func (s *Session) failure(exit error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	op := map[string]string{Serve: "send the stream", Apply: "receive the stream", Hash: "hash the disks"}[s.mode]
	if s.failed != nil {
		return &replicator.Error{Kind: kindOf(s.failed.Kind), Disk: s.failed.Disk, Op: op, Err: errors.New(s.failed.Message)}
	}
	cause := errors.Join(s.bad, exit)
	if cause == nil {
		cause = fmt.Errorf("%s ended without a result", programName)
	}
	return &replicator.Error{Kind: replicator.KindOther, Op: op, Err: cause}
}

func kindOf(kind string) string {
	switch kind {
	case spec.KindExport:
		return replicator.KindExport
	case spec.KindTarget:
		return replicator.KindTarget
	case spec.KindNoSpace:
		return replicator.KindNoSpace
	case spec.KindStream, spec.KindMismatch:
		return replicator.KindStream
	case spec.KindPeer:
		return replicator.KindPeer
	case spec.KindSpec:
		return replicator.KindRequest
	case spec.KindStopped:
		return replicator.KindCanceled
	default:
		return replicator.KindOther
	}
}

// Stop ends the program, if it still runs, within a few seconds, and waits for it.
// It may be called several times.
func (s *Session) Stop() {
	// How it ended is Wait's to tell.
	_ = s.process.Stop(stopGrace)
	<-s.read
}
