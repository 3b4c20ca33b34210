package service

import (
	"context"
	"math/rand/v2"
	"time"

	"vmsync/internal/config"
	"vmsync/internal/store"
	"vmsync/replicator"
)

// A run that would find nothing changed costs a hundred times what it takes to ask the
// source about that. Where a machine's policy has such runs make no state, a look comes
// first: the watch's agent is asked by the mark that the last run left. Only where it is
// certain that nothing at all has changed, the replica is as fresh as that look; anything
// else, an answer that does not come included, makes the run begin, and forgets the mark.

const (
	// looksAtMost is how long looks may stand in for runs: what only a run sees, as a
	// replica that somebody has started, is seen at least so often.
	looksAtMost = time.Hour
	// lookPatience is how long a watch may take to answer before runs begin without it.
	lookPatience = 10 * time.Second
	// saveEvery is how often what looks have found is kept in the history.
	saveEvery = time.Minute
)

// mark is what looks at a machine go by.
type mark struct {
	replicator.Mark
	store, replica string // where the replica is
	manifest       store.Stamp
	until          time.Time // then a run is to look again
}

// Ask is a question for the watch of a source. Reply has room for the answer.
type Ask struct {
	Marks []replicator.Mark
	Reply chan<- []replicator.Peek // nil where there is none
}

// newMark is what later looks go by after a run, if they can: only on this host can the
// replica be looked at, too. It may take as long as its file system.
func newMark(job Job, m *replicator.Mark, now time.Time) *mark {
	if m == nil || !job.Target.At.Local {
		return nil
	}
	// Shares of the time, or machines that began together would stay together.
	until := now.Add(looksAtMost/2 + rand.N(looksAtMost/2))
	k := &mark{Mark: *m, store: job.Request.Store, replica: job.Request.TargetDomain, until: until}
	var err error
	if k.manifest, err = store.StampOf(k.store, k.replica); err != nil {
		return nil
	}
	manifest, err := store.Read(k.store, k.replica)
	if err != nil || manifest.Role != store.RoleReplica || manifest.Head() == nil || manifest.Head().Checkpoint != m.Checkpoint {
		return nil
	}
	return k
}

// stands tells whether the replica is still what it was when the mark was made.
func (k *mark) stands() bool {
	now, err := store.StampOf(k.store, k.replica)
	return err == nil && now == k.manifest
}

// lookFirst begins the looks that may stand in for due work, and returns the rest.
func (s *Service) lookFirst(due []work, now time.Time) (rest []work) {
	looks := map[*source][]*machine{}
	for _, w := range due {
		m := w.machines[0]
		if len(w.machines) > 1 || !m.mayLook(now) {
			rest = append(rest, w)
			continue
		}
		src := s.sources[m.policy.Source]
		looks[src] = append(looks[src], m)
	}
	for src, machines := range looks {
		s.look(src, machines, now)
	}
	return rest
}

// mayLook tells whether a look may stand in for a machine's next run. A member of a group
// has runs that the others have, too.
func (m *machine) mayLook(now time.Time) bool {
	return m.mark != nil && m.policy.Group == "" && now.Before(m.mark.until) && len(m.wanted) == 0 && skipsUnchanged(&m.policy)
}

func skipsUnchanged(p *config.Policy) bool { return p.Schedule.RPO > 0 || p.MinChanged > 0 }

// look looks at machines of a source.
func (s *Service) look(src *source, machines []*machine, now time.Time) {
	marks := make([]*mark, len(machines))
	for i, m := range machines {
		m.looking, marks[i] = true, m.mark
	}
	s.tasks.Go(func() {
		same := src.look(marks)
		select {
		case s.calls <- func() { s.looked(machines, marks, same, now) }:
		case <-s.watching.Done():
		}
	})
}

// look asks a source, and tells for each mark whether all is as it was.
func (src *source) look(marks []*mark) []bool {
	ctx, cancel := context.WithTimeout(src.ctx, lookPatience)
	defer cancel()
	same := make([]bool, len(marks))
	var asked []int
	reply := make(chan []replicator.Peek, 1)
	ask := Ask{Reply: reply}
	for i, k := range marks {
		if k.stands() {
			asked, ask.Marks = append(asked, i), append(ask.Marks, k.Mark)
		}
	}
	if len(asked) == 0 {
		return same
	}
	select {
	case src.asks <- ask:
	case <-ctx.Done():
		return same
	}
	select {
	case peeks := <-reply:
		for n := range peeks {
			i := asked[n]
			same[i] = marks[i].Same(&peeks[n])
		}
	case <-ctx.Done():
	}
	return same
}

// looked takes over what a look that began at a time has found.
func (s *Service) looked(machines []*machine, marks []*mark, same []bool, began time.Time) {
	for i, m := range machines {
		m.looking = false
		switch {
		case m.mark != marks[i]: // a reload, or a run, has made something else of it
		case !same[i]:
			m.mark = nil
		default:
			m.record = m.record.Seen(began)
			s.seen[m.key] = began
		}
	}
}

// save keeps what looks have found, now and then.
func (s *Service) save(now time.Time, atOnce bool) {
	if len(s.seen) == 0 || !atOnce && now.Sub(s.saved) < saveEvery {
		return
	}
	if err := s.hist.Saw(s.seen); err != nil {
		s.log.Warn("cannot keep in the history that replicas are fresh", "error", err)
	}
	clear(s.seen)
	s.saved = now
}
