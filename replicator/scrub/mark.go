package scrub

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"vmsync/internal/event"
	"vmsync/internal/store"
	"vmsync/replicator"
)

// mark keeps what was found in the manifest. What was found wrong is not lost for
// somebody else's run: it is waited for.
func (s *scrub) mark(ctx context.Context) error {
	const op = "keep what was found"
	if len(s.states) == 0 && !s.news() {
		return nil
	}
	told := false
	for {
		changed, err := s.tryMark(ctx)
		switch {
		case err == nil && changed && s.req.Repoint != nil:
			if err := s.req.Repoint(ctx); err != nil {
				s.out.Emit(event.Warning{Message: fmt.Sprintf("the replica's domain may still boot a state that is damaged: %v", err)})
			}
			return nil
		case err == nil:
			return nil
		case replicator.KindOf(err) != replicator.KindBusy:
			return s.fail(replicator.KindStore, op, "", err)
		case !s.news():
			s.out.Emit(event.Warning{Message: fmt.Sprintf("it is not noted that the states were verified: %v", err)})
			return nil
		case !told:
			s.out.Emit(event.Notice{Message: "waiting for the run that holds the replica, to mark what is damaged"})
			told = true
		}
		if err := pause(ctx, lookAgain); err != nil {
			return s.fail(replicator.KindBusy, op, "", fmt.Errorf("gave up waiting: %w", err))
		}
	}
}

// news tells whether damage was found, or is gone.
func (s *scrub) news() bool {
	for _, f := range s.images {
		if f.unknown == "" && f.damage != f.image.Damaged {
			return true
		}
	}
	return slices.ContainsFunc(s.states, func(v verdict) bool { return v.files != v.state.Damaged })
}

// tryMark changes the manifest under its lock, and tells whether what is damaged is
// something else now.
func (s *scrub) tryMark(ctx context.Context) (changed bool, err error) {
	var folder *store.Folder
	if err := replicator.Patiently(ctx, func() (err error) {
		folder, err = store.LockExisting(s.req.Store, s.req.Domain)
		if errors.Is(err, store.ErrBusy) {
			return &replicator.Error{Kind: replicator.KindBusy, Err: &replicator.BusyError{What: err.Error()}}
		}
		return err
	}); err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, folder.Unlock()) }()
	m, err := folder.Load()
	if err != nil {
		return false, err
	}
	m.Images, m.States = slices.Clone(m.Images), slices.Clone(m.States)
	for name, f := range s.images {
		if f.gone || f.unknown != "" {
			continue
		}
		if img := s.now(m, name, f); img != nil && img.Damaged != f.damage {
			img.Damaged, changed = f.damage, true
		}
	}
	now := time.Now().UTC().Truncate(time.Second)
	for _, v := range s.states {
		state := m.State(v.state.Generation)
		if state == nil {
			continue
		}
		if state.Damaged != v.files {
			state.Damaged, changed = v.files, true
		}
		if v.damaged == "" && v.unknown == "" && m.Damage(state) == "" {
			state.Verified = &now
		}
	}
	return changed, folder.Save(m)
}

// now finds the image in which one that was read is now, if what was found is true of it:
// nil where somebody else has judged it since, or where it was merged into
// another and was all right.
func (s *scrub) now(m *store.Manifest, name string, f *finding) *store.Image {
	if img := m.Image(name); img != nil {
		if img.Damaged != f.image.Damaged {
			return nil
		}
		return img
	}
	if f.damage == "" {
		return nil
	}
	for _, v := range s.states {
		for _, d := range v.state.Disks {
			over := false
			for _, above := range s.manifest.Chain(d.Image) {
				if img := m.Image(above.Name); over && img != nil {
					return img
				}
				over = over || above.Name == name
			}
		}
	}
	return nil
}
