package service

import (
	"time"

	"vmsync/internal/config"
	"vmsync/internal/store"
)

// readHeads has what the store says of machines that are new to the service taken over:
// the history may be lost, or have missed a run. A store may be slow, and the loop does
// not wait for it.
func (s *Service) readHeads(added []*machine) {
	if !s.cfg.Target.At.Local || len(added) == 0 {
		return
	}
	policies := make([]config.Policy, len(added))
	for i, m := range added {
		policies[i] = m.policy
	}
	s.tasks.Go(func() {
		for i, m := range added {
			at := headTime(&policies[i])
			if at.IsZero() {
				continue
			}
			select {
			case s.calls <- func() {
				if m.record.Fresh.Before(at) {
					m.record.Fresh = at
				}
			}:
			case <-s.watching.Done():
				return
			}
		}
	})
}

// headTime is the moment that a machine's replica in the store of this host is of; zero
// if there is none that follows a machine of this name.
func headTime(p *config.Policy) time.Time {
	m, err := store.Read(p.Store, p.TargetDomain)
	if err != nil || m.Role != store.RoleReplica || m.Source.Domain != p.Domain || m.Head() == nil {
		return time.Time{}
	}
	return m.Head().Time
}
