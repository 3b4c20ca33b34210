package service

import (
	"context"
	"errors"
	"io"
	"time"

	"vmsync/internal/config"
	"vmsync/internal/event"
	"vmsync/internal/ssh"
	"vmsync/replicator"
	"vmsync/replicator/remote"
)

// Job is one run: what to replicate, and between which hosts.
type Job struct {
	Source, Target config.Host
	Request        replicator.Request
}

// Ends reach the hosts. Their methods are called from several goroutines.
type Ends interface {
	// Sync runs a job to its end; see [replicator.Sync]. When ctx ends it undoes what it
	// began before it returns.
	Sync(ctx context.Context, job Job, out event.Sink) (replicator.Synced, error)
	// Watch tells which domains a source has, at once and then each so often, and answers
	// asks, until the source does not answer any more or ctx ends. It never returns nil.
	Watch(ctx context.Context, source config.Host, every time.Duration, asks <-chan Ask, tell func([]replicator.SourceDomain)) error
}

// Hosts are the real ends: agents on the hosts, reached through TLS, or SSH connections that last
// from one run to the next.
type Hosts struct{ hosts *remote.Hosts }

// NewHosts makes the ends; log gets what the agents log. The caller closes them, when the
// service has ended.
func NewHosts(log io.Writer) Hosts { return Hosts{remote.NewHosts(log)} }

// Close ends all connections.
func (h Hosts) Close() error { return h.hosts.Close() }

// Sync implements [Ends].
func (h Hosts) Sync(ctx context.Context, job Job, out event.Sink) (_ replicator.Synced, err error) {
	var pair *remote.Pair
	if err := replicator.Phase(out, event.PhaseConnect, func() (err error) {
		pair, err = h.hosts.Pair(ctx, place(job.Source), place(job.Target))
		return err
	}); err != nil {
		return replicator.Synced{}, err
	}
	defer func() { err = errors.Join(err, pair.Close()) }()
	return replicator.Sync(ctx, job.Request, pair.Source, pair.Target, pair.Relay, out)
}

// Watch implements [Ends]. It keeps one agent on the source, so that a source that is gone
// is noticed although nothing is asked of it.
func (h Hosts) Watch(ctx context.Context, source config.Host, every time.Duration, asks <-chan Ask, tell func([]replicator.SourceDomain)) error {
	solo, err := h.hosts.Solo(ctx, place(source), remote.RoleSource)
	if err != nil {
		return err
	}
	defer solo.Close() // it has nothing to undo, and what it says does not matter
	tick := time.NewTicker(every)
	defer tick.Stop()
	list := func() error {
		all, err := patiently(ctx, "list the domains", solo.Source().List)
		if err == nil {
			tell(all)
		}
		return err
	}
	for err = list(); err == nil; {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-solo.Gone():
			return &replicator.Error{Kind: replicator.KindAgentLost, Op: "watch the domains of " + source.Name, Err: errors.New("the connection broke")}
		case <-tick.C:
			err = list()
		case ask := <-asks:
			var peeks []replicator.Peek
			peeks, err = patiently(ctx, "look for changes", func(ctx context.Context) ([]replicator.Peek, error) {
				return solo.Source().Peek(ctx, ask.Marks)
			})
			ask.Reply <- peeks
		}
	}
	return err
}

// patience is how long libvirt may take to tell of its domains: it cannot be interrupted,
// and one that hangs would look like one that is well.
const patience = 30 * time.Second

func patiently[T any](ctx context.Context, op string, do func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, &replicator.Error{Kind: replicator.KindUnreachable, Op: op,
		Hint: "see whether libvirtd hangs there", Err: errors.New("libvirt does not answer")})
	defer cancel()
	return do(ctx)
}

func place(h config.Host) remote.Place {
	return remote.Place{At: h.At, Access: remote.Access{
		SSH:    ssh.Options{KeyFile: h.IdentityFile, ConfigFile: h.SSHConfig, KnownHostsFile: h.KnownHosts},
		TLSDir: h.TLSDir,
	}}
}

// requestOf is what the replicator is asked for, by a machine's policy at a moment.
func requestOf(p *config.Policy, source, target config.Host, now time.Time) replicator.Request {
	return replicator.Request{
		Domain:       p.Domain,
		SourceHost:   source.At.Name,
		TargetHost:   target.At.Name,
		TargetDomain: p.TargetDomain,
		Store:        p.Store,
		Compress:     p.Compress,
		Rate:         p.Rate.At(now),
		Transport:    p.Transport,
		Keep:         p.Keep,
		Options:      replicator.Options{Disks: p.Disks, Exclude: p.ExcludeDisks},

		Quiesce:           quiesce(p.Quiesce),
		FreezeMountpoints: p.FreezeMountpoints,
	}
}

func quiesce(q config.Quiesce) replicator.Quiesce {
	switch q {
	case config.QuiesceRequired:
		return replicator.QuiesceRequired
	case config.QuiesceNo:
		return replicator.QuiesceNo
	}
	return replicator.QuiescePreferred
}

// wants completes a request with how much must have changed for a run to be worth while:
// by the policy, or by who asked for it.
func wants(r *replicator.Request, p *config.Policy, asked *ask, fresh, now time.Time) {
	switch {
	case asked != nil:
		r.Options.Full, r.Options.Resync, r.MinChanged = asked.Full, asked.Resync, asked.MinChanged
	case p.Schedule.RPO > 0:
		r.SkipUnchanged = true // the replica is as good as a new one
	case p.MinChanged > 0:
		r.SkipUnchanged = true
		if !fresh.IsZero() && now.Sub(fresh) < p.MinChangedMaxAge {
			r.MinChanged = p.MinChanged
		}
	}
}
