// Package guard is the process that outlives a source agent: `vmsync guard`.
//
// The agent starts it before it freezes a guest, as a session of its own, and tells
// it over a pipe what it is about to do, one JSON object a line. When the pipe closes
// without the all-clear, because the agent was killed, the guard thaws the guest and
// ends the backup job that the agent began. It does so too when the agent holds a
// guest frozen for longer than it ever should.
//
// It must never touch anything but the one domain it was told of, and of that
// nothing but the freeze and the job of the checkpoint it was told of. It leaves
// checkpoints alone: a dead agent's may be the baseline of a state that the target
// has accepted.
package guard

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"log/syslog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"vmsync/internal/libvirt"
	"vmsync/replicator"
	"vmsync/replicator/source/ours"
)

// Events that an agent tells its guard. Each is told before the deed.
const (
	EventFreezing  = "freezing"  // the guest may be frozen from now on
	EventThawed    = "thawed"    // it is not any more
	EventBeginning = "beginning" // the backup job of Checkpoint may exist from now on
	EventBegun     = "begun"     // it exists
	EventEnded     = "ended"     // it does not any more
	EventDone      = "done"      // nothing is left to guard: exit
)

// Message is one line from the agent.
type Message struct {
	Event      string `json:"event"`
	Domain     string `json:"domain,omitempty"` // UUID
	Checkpoint string `json:"checkpoint,omitempty"`
}

const (
	readyLine = "ready\n"
	maxLine   = 64 << 10

	// MaxFrozen is how long an agent may hold a guest frozen before the guard thaws
	// it. It is longer than the agent's own bounds on all it does meanwhile.
	MaxFrozen = 90 * time.Second
	// giveUp bounds how long the guard tries after its agent is gone.
	giveUp = 10 * time.Minute
	// settle is how long a job may still appear that the agent had asked for when it
	// died: libvirt waits 30 s for a busy domain.
	settle = 45 * time.Second

	retryFirst = 100 * time.Millisecond
	retryMost  = 2 * time.Second
	tryTimeout = ours.AgentTimeout + 15*time.Second
)

// Options of Main. The zero value is what the command uses.
type Options struct {
	RunDir string       // that of ours.Here if empty
	Log    *slog.Logger // to the system's log if nil
}

// guard is what the guard knows of its agent's doings.
type guard struct {
	runDir string
	log    *slog.Logger

	domain     string // UUID; empty until told
	checkpoint string
	frozen     bool
	job        bool
	begun      bool // the job was seen to exist by the agent
}

// Main is the guard's life: it returns when the agent has given the all-clear, or
// is gone and all it left is ended, or after trying for 10 minutes.
//
// It ignores SIGTERM, SIGINT and SIGHUP while a guest may be frozen or its agent
// lives, so that the end of a login session or the stop of a service that takes the
// agent along leaves somebody to thaw.
func Main(ctx context.Context, stdin io.Reader, stdout io.Writer, opts Options) error {
	g := &guard{runDir: opts.RunDir, log: opts.Log}
	if g.runDir == "" {
		place, err := ours.Here()
		if err != nil {
			return err
		}
		g.runDir = place.RunDir
	}
	if g.log == nil {
		log, closeLog := systemLog()
		defer closeLog()
		g.log = log
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer signal.Stop(signals)
	if _, err := io.WriteString(stdout, readyLine); err != nil {
		return fmt.Errorf("guard: tell the agent: %w", err)
	}
	done, err := g.listen(ctx, stdin, signals)
	if err != nil || done {
		return err
	}
	return g.takeOver(ctx, signals)
}

// systemLog logs to syslog or the journal: the guard's stderr is nobody's, and what
// it does must be found afterwards. Without a system log it logs nothing.
func systemLog() (log *slog.Logger, closeLog func()) {
	w, err := syslog.New(syslog.LOG_DAEMON|syslog.LOG_WARNING, "vmsync-guard")
	if err != nil {
		return slog.New(slog.DiscardHandler), func() {}
	}
	return slog.New(slog.NewTextHandler(w, nil)), func() { _ = w.Close() }
}

// listen follows the agent until the pipe closes; done is true if it gave the
// all-clear.
func (g *guard) listen(ctx context.Context, stdin io.Reader, signals <-chan os.Signal) (done bool, err error) {
	// The reader ends with the pipe, at the latest with this process.
	messages := make(chan Message)
	go func() {
		defer close(messages)
		in := bufio.NewScanner(stdin)
		in.Buffer(nil, maxLine)
		for in.Scan() {
			var m Message
			if err := json.Unmarshal(in.Bytes(), &m); err != nil {
				g.log.Error("guard: the agent's message cannot be read", "error", err)
				return
			}
			messages <- m
		}
	}()
	overdue := time.NewTimer(MaxFrozen)
	overdue.Stop()
	defer overdue.Stop()
	for {
		select {
		case <-ctx.Done():
			return false, context.Cause(ctx)
		case s := <-signals:
			g.log.Info("guard: the agent lives, signal ignored", "signal", s.String())
		case <-overdue.C:
			g.log.Error("guard: the agent holds the guest frozen for too long; thawing it", "domain", g.domain)
			if err := g.thaw(ctx); err != nil {
				g.log.Error("guard: cannot thaw, will try again", "domain", g.domain, "error", err)
				overdue.Reset(retryMost)
			}
		case m, ok := <-messages:
			if !ok || m.Event == EventDone {
				return ok, nil
			}
			wasFrozen := g.frozen
			g.note(m)
			if g.frozen != wasFrozen {
				overdue.Stop()
				if g.frozen {
					overdue.Reset(MaxFrozen)
				}
			}
		}
	}
}

// note takes a message in.
func (g *guard) note(m Message) {
	switch m.Event {
	case EventFreezing:
		g.domain, g.frozen = m.Domain, true
	case EventThawed:
		g.frozen = false
	case EventBeginning:
		g.domain, g.checkpoint, g.job, g.begun = m.Domain, m.Checkpoint, true, false
	case EventBegun:
		g.begun = true
	case EventEnded:
		g.job, g.begun = false, false
	}
}

// takeOver ends what the agent left, under the run's lock: a next run that holds it
// does the same work itself, and its guest and job are not ours to touch.
func (g *guard) takeOver(ctx context.Context, signals <-chan os.Signal) error {
	if !g.frozen && !g.job {
		return nil
	}
	start := time.Now()
	g.log.Warn("guard: the agent is gone", "domain", g.domain, "frozen", g.frozen, "job", g.job)
	wait := retryFirst
	var last error
	for time.Since(start) < giveUp {
		finished, err := g.clean(ctx, time.Since(start) > settle)
		if finished {
			g.log.Info("guard: nothing is left", "domain", g.domain)
			return nil
		}
		if err != nil {
			// Say it once, not at every try.
			if last == nil || last.Error() != err.Error() {
				g.log.Warn("guard: will try again", "domain", g.domain, "error", err)
			}
			last = err
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		case s := <-signals:
			if !g.frozen {
				timer.Stop()
				return fmt.Errorf("guard: ended by signal %v; the next sync of domain %s ends what is left", s, g.domain)
			}
		case <-timer.C:
		}
		timer.Stop()
		wait = min(2*wait, retryMost)
	}
	return fmt.Errorf("guard: gave up on domain %s after %v: %w", g.domain, giveUp, last)
}

// clean is one try. settled says that no job can appear any more.
func (g *guard) clean(ctx context.Context, settled bool) (finished bool, err error) {
	lock, err := ours.TakeLock(g.runDir, g.domain, "ending what a dead sync left")
	if busy, ok := errors.AsType[*replicator.BusyError](err); ok {
		return false, busy
	}
	if err != nil {
		// Without the lock's folder no other run can work either.
		g.log.Warn("guard: no lock, going on without", "domain", g.domain, "error", err)
	}
	defer lock.Release()

	if g.frozen {
		marked, err := ours.MarkedFrozen(g.runDir, g.domain)
		if err == nil && !marked {
			g.frozen = false // a next run has thawed it
		} else if err := g.thaw(ctx); err != nil {
			return false, err
		}
	}
	if g.job {
		ended, err := g.endJob(ctx)
		if err != nil {
			return false, err
		}
		if ended || g.begun || settled {
			g.job = false
		}
	}
	return !g.frozen && !g.job, nil
}

func (g *guard) thaw(ctx context.Context) error {
	return g.withDomain(ctx, func(ctx context.Context, dom *libvirt.Domain) error {
		// Not to be able to set the bound must not keep us from thawing.
		if err := dom.SetAgentTimeout(ctx, ours.AgentTimeout); err != nil {
			g.log.Warn("guard: no bound on the guest agent", "error", err)
		}
		err := ours.Thaw(ctx, dom, g.runDir)
		if err == nil {
			g.frozen = false
			g.log.Warn("guard: thawed the guest", "domain", dom.Name)
		}
		return err
	})
}

func (g *guard) endJob(ctx context.Context) (ended bool, err error) {
	err = g.withDomain(ctx, func(ctx context.Context, dom *libvirt.Domain) error {
		var err error
		ended, err = ours.EndJob(ctx, dom, func(b *libvirt.Backup) bool { return ours.IsJobOf(b, g.checkpoint) })
		if ended {
			g.log.Warn("guard: ended the backup job", "domain", dom.Name, "checkpoint", g.checkpoint)
		}
		return err
	})
	return ended, err
}

// withDomain calls f with the domain. One that is gone has nothing of ours.
func (g *guard) withDomain(ctx context.Context, f func(context.Context, *libvirt.Domain) error) error {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	conn, err := libvirt.Open(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	dom, err := conn.Lookup(ctx, g.domain)
	if errors.Is(err, libvirt.ErrNoDomain) {
		g.frozen, g.job = false, false
		return nil
	}
	if err != nil {
		return err
	}
	return f(ctx, dom)
}
