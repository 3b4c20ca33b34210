package scrub

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"vmsync/internal/event"
	"vmsync/internal/qemu"
	"vmsync/internal/store"
	"vmsync/replicator"
	"vmsync/replicator/target/tree"
)

// finding is what was found out about an image.
type finding struct {
	image store.Image // as the manifest had it
	// gone is set where the image was merged into the one over it, which is read later.
	gone bool
	// damage says what is wrong with the image; unknown says why that could not be told.
	damage, unknown string
	read            int64 // bytes
}

// sight is an image as it is found before it is read. What is found in it counts only if
// it is the same afterwards.
type sight struct {
	manifest *store.Manifest
	image    store.Image
	listed   bool
	step     store.Step // the change that is under way with the image, if any
	files    [2]identity
}

// identity tells one file from another of the same name.
type identity struct{ dev, ino uint64 }

func identityOf(path string) identity {
	var st syscall.Stat_t
	if syscall.Stat(path, &st) != nil {
		return identity{}
	}
	return identity{st.Dev, st.Ino}
}

func (s *scrub) look(name string) (*sight, error) {
	m, err := s.load()
	if err != nil {
		return nil, err
	}
	v := &sight{manifest: m, files: [2]identity{identityOf(s.path(name)), identityOf(s.path(store.IndexName(name)))}}
	if img := m.Image(name); img != nil {
		v.image, v.listed = *img, true
	}
	if m.Step != nil && (m.Step.Image == name || m.Step.Onto == name && m.Step.Op == store.StepMerge) {
		v.step = *m.Step
	}
	return v, nil
}

// same tells whether nobody has touched the image between two looks at it.
func (v *sight) same(o *sight) bool {
	return v.listed == o.listed && v.image == o.image && v.step == o.step && v.files == o.files
}

const (
	// lookAgain is how long to wait for somebody who works on an image, and patience
	// how long in all without getting anywhere: merging a large image takes a while.
	lookAgain = 500 * time.Millisecond
	patience  = 30 * time.Minute
)

// examine reads an image and compares it with what is known of it. It begins anew when the
// image was reshaped meanwhile.
func (s *scrub) examine(ctx context.Context, name string) (*finding, error) {
	s.patient = time.Now()
	for {
		before, err := s.look(name)
		if err != nil {
			return nil, err
		}
		if !before.listed {
			return &finding{gone: true}, nil
		}
		if before.step != (store.Step{}) && s.finishStep(ctx) {
			continue
		}
		now := *before
		f, err := s.compare(ctx, &now)
		if err == nil && f.damage == "" && f.unknown == "" {
			if strings.HasPrefix(before.image.Damaged, fromSource) {
				f.damage = before.image.Damaged
			}
			return f, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		after, lookErr := s.look(name)
		if lookErr != nil {
			return nil, errors.Join(err, lookErr)
		}
		busy := errors.Is(err, qemu.ErrInUse)
		if before.same(after) && !busy {
			return f, err
		}
		if time.Since(s.patient) > patience {
			return &finding{image: before.image, unknown: "another run keeps changing it"}, nil
		}
		if busy {
			s.out.Emit(event.Notice{Message: name + " is being merged; waiting"})
		}
		if err := pause(ctx, lookAgain); err != nil {
			return nil, err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

// finishStep finishes a change of the images that somebody has begun and left, and says
// whether there is none any more.
func (s *scrub) finishStep(ctx context.Context) bool {
	folder, err := store.LockExisting(s.req.Store, s.req.Domain)
	if err != nil {
		return false // whoever holds it is at it
	}
	defer folder.Unlock() //nolint:errcheck // it ends with the process at the latest
	m, err := folder.Load()
	if err != nil || m.Step == nil {
		return err == nil
	}
	like := folder.Path(m.Step.Image)
	images := tree.Tree{Folder: folder, Manifest: m, Own: func(path string) error { return ownLike(path, like) }}
	_, err = images.Reshape(ctx)
	if err != nil {
		s.out.Emit(event.Notice{Message: fmt.Sprintf("overlays could not be merged yet: %v", err)})
	}
	return err == nil
}

// ownLike gives a file the owner and the mode of another.
func ownLike(path, like string) error {
	var st syscall.Stat_t
	if err := syscall.Stat(like, &st); err != nil {
		return &os.PathError{Op: "stat", Path: like, Err: err}
	}
	if err := os.Chmod(path, os.FileMode(st.Mode&0o777)); err != nil {
		return err
	}
	return os.Chown(path, int(st.Uid), int(st.Gid))
}

// mergeInto is the index of the image that is being merged into this one, if any: of the
// blocks that it has, this one holds what the merge has got to.
func (v *sight) mergeInto() string {
	if v.step.Op == store.StepMerge && v.step.Onto == v.image.Name {
		return store.IndexName(v.step.Image)
	}
	return ""
}

// operational tells errors of this host from those of an image.
func operational(ctx context.Context, err error) bool {
	switch replicator.KindOf(err) {
	case replicator.KindProgramMissing, replicator.KindNoSpace, replicator.KindRequest, replicator.KindCanceled:
		return true
	}
	return ctx.Err() != nil || errors.Is(err, qemu.ErrInUse)
}
