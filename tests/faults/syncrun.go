package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"vmsync/internal/event"
	"vmsync/tests/lab"
)

// line is what this program reads of an event of `vmsync sync --json`.
type line struct {
	Event    string      `json:"event"`
	Phase    event.Phase `json:"phase"`
	Duration float64     `json:"duration_seconds"`
	Message  string      `json:"message"`
	Kind     string      `json:"kind"` // of an error or a summary
}

// syncRun is one `vmsync sync` on its way.
type syncRun struct {
	host    *lab.Host
	cmd     *exec.Cmd
	args    []string
	started time.Time
	done    chan struct{} // closed at its end; then the fields below may be read freely

	mu      sync.Mutex
	output  []byte // all that it printed, for people
	lines   []line
	phase   event.Phase
	since   time.Time // begin of that phase
	passed  map[event.Phase]bool
	took    time.Duration
	code    int // exit code, -1: killed
	logFile *os.File
}

// startSync starts vmsync on a host. Cancelling the context kills it.
func startSync(ctx context.Context, host *lab.Host, args ...string) (*syncRun, error) {
	log, err := os.CreateTemp("", "vmsync-faults-*.log")
	if err != nil {
		return nil, err
	}
	// The agents may keep it open longer than vmsync lives: a pipe would wait for them.
	defer os.Remove(log.Name())
	r := &syncRun{host: host, args: args, started: time.Now(), done: make(chan struct{}), passed: make(map[event.Phase]bool), logFile: log}
	r.cmd = host.Command(ctx, append([]string{"vmsync"}, args...)...)
	r.cmd.Stderr = log
	stdout, err := r.cmd.StdoutPipe()
	if err == nil {
		err = r.cmd.Start()
	}
	if err != nil {
		return nil, errors.Join(err, log.Close())
	}
	go func() {
		defer close(r.done)
		for scanner := bufio.NewScanner(stdout); scanner.Scan(); {
			r.read(scanner.Bytes())
		}
		err := r.cmd.Wait()
		r.mu.Lock()
		defer r.mu.Unlock()
		r.took, r.code = time.Since(r.started), r.cmd.ProcessState.ExitCode()
		if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
			r.output = append(r.output, err.Error()...)
		}
	}()
	return r, nil
}

func (r *syncRun) read(text []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.output = append(append(r.output, text...), '\n')
	var l line
	if err := json.Unmarshal(text, &l); err != nil {
		return // the last line of one that was killed
	}
	r.lines = append(r.lines, l)
	switch l.Event {
	case "phase_started":
		r.phase, r.since = l.Phase, time.Now()
	case "phase_finished":
		r.passed[l.Phase] = true
	}
}

// now is the phase that the sync is in, and for how long; "" before the first.
func (r *syncRun) now() (event.Phase, time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.phase, time.Since(r.since)
}

// past says whether a phase has ended well.
func (r *syncRun) past(p event.Phase) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.passed[p]
}

// ended says whether it has.
func (r *syncRun) ended() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

func (r *syncRun) signal(sig syscall.Signal) (bool, error) {
	err := r.host.Signal(r.cmd, sig)
	if errors.Is(err, os.ErrProcessDone) {
		return false, nil
	}
	return err == nil, err
}

// reached says whether a moment of the sync has come, given how long phases last.
func (r *syncRun) reached(s step, usual map[event.Phase]time.Duration) bool {
	phase, in := r.now()
	at, wanted := slices.Index(phases, phase), slices.Index(phases, s.phase)
	return at > wanted || at == wanted && in >= time.Duration(s.fraction*float64(usual[s.phase]))
}

// outcome is how it ended, in a few words.
func (r *syncRun) outcome() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.code == 0:
		return "ok"
	case r.code < 0:
		return "killed"
	}
	for _, l := range slices.Backward(r.lines) {
		if l.Event == "error" {
			return fmt.Sprintf("%s: %s", l.Kind, l.Message)
		}
	}
	return fmt.Sprintf("exit code %d", r.code)
}

// jobLost says whether a sync refused for a job that libvirt itself has lost.
func (r *syncRun) jobLost() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.lines, func(l line) bool {
		return l.Event == "error" && l.Kind == "job-active" && strings.Contains(l.Message, "libvirt knows nothing of")
	})
}

// full says whether a sync that succeeded copied whole disks.
func (r *syncRun) full() bool {
	for _, l := range r.lines {
		if l.Event == "summary" {
			return l.Kind != event.KindIncremental
		}
	}
	return false
}

// text is all that it printed, on both ways.
func (r *syncRun) text() string {
	log, err := os.ReadFile(fmt.Sprintf("/proc/self/fd/%d", r.logFile.Fd()))
	if err != nil {
		log = []byte(err.Error())
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return fmt.Sprintf("%s: vmsync %q\nafter %v: exit code %d\n%s%s", r.host.Name(), r.args, r.took, r.code, r.output, log)
}

// close forgets its log.
func (r *syncRun) close() { r.logFile.Close() }
