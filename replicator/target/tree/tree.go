// Package tree brings the images of a replica into the shape that its states need: it
// drops, merges and shortens them, as the manifest's steps say (store.Step).
//
// Whatever is killed and whenever, every state that the manifest lists reads the same
// before, meanwhile and afterwards, and calling [Reshape] again goes on. The package must
// never decide which states are kept, and never touch libvirt.
package tree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"vmsync/internal/blockindex"
	"vmsync/internal/faultpoint"
	"vmsync/internal/proc"
	"vmsync/internal/qemu"
	"vmsync/internal/store"
)

// Tree is a replica's images, with the manifest that describes them. It is for one
// goroutine, which holds the folder's lock.
type Tree struct {
	Folder   *store.Folder
	Manifest *store.Manifest // replaced, never changed, by what is saved
	// Own gives an image that was made the owner and mode that images have.
	Own func(path string) error
}

// Reshape does one step after the other until there is none left, and tells how many it
// did. An error for which errors.Is(err, qemu.ErrInUse) or (err, qemu.ErrNoSpace) holds is
// one that time or an administrator cures; every state reads right all the same.
func (t *Tree) Reshape(ctx context.Context) (steps int, err error) {
	for {
		m := *t.Manifest
		changed := m.Step == nil && m.DropUnneeded()
		step := m.NextStep()
		if step == nil {
			if changed {
				err = t.save(&m)
			}
			return steps, err
		}
		if m.Step == nil || changed {
			m.Step = step
			if err := t.save(&m); err != nil {
				return steps, err
			}
		}
		if err := t.do(ctx, *step); err != nil {
			return steps, errors.Join(fmt.Errorf("disk %s: %w", t.Manifest.Image(step.Image).Disk, err), t.giveUp(*step, err))
		}
		faultpoint.Hit("target-after-step")
		m = *t.Manifest
		m.Finish(*step)
		if err := t.save(&m); err != nil {
			return steps, err
		}
		if step.Op == store.StepMerge {
			if err := t.Folder.Remove(step.Onto, store.IndexName(step.Onto)); err != nil {
				return steps, err
			}
		}
		steps++
	}
}

func (t *Tree) do(ctx context.Context, s store.Step) error {
	if s.Op == store.StepShorten {
		return t.shorten(ctx, s)
	}
	return t.mergeDown(ctx, s)
}

// giveUp ends a step that failed and has changed nothing that matters: the copy that
// was to be shortened is thrown away. A merge stays under way: what it merges into is
// not what it was.
func (t *Tree) giveUp(s store.Step, why error) error {
	if s.Op != store.StepShorten || !noSpace(why) {
		return nil
	}
	if err := t.Folder.Remove(store.TempName(s.Image), store.TempName(store.IndexName(s.Image))); err != nil {
		return err
	}
	m := *t.Manifest
	m.Step = nil
	return t.save(&m)
}

// mergeDown merges an image into the one under it and puts that in its place. Through
// every name that the manifest has, the same is read before, meanwhile and afterwards:
// while the lower image changes it is read only through the upper one, which holds all
// that changes; and whoever has the upper one's file open may go on with it.
func (t *Tree) mergeDown(ctx context.Context, s store.Step) error {
	upper, lower := t.Folder.Path(s.Image), t.Folder.Path(s.Onto)
	upperIndex, lowerIndex := store.IndexName(s.Image), store.IndexName(s.Onto)
	apart, err := liesOver(ctx, upper, lower)
	if err != nil {
		return err
	}
	if apart {
		if err := qemu.Commit(ctx, upper); err != nil {
			return err
		}
		if img, below := t.Manifest.Image(s.Image), t.Manifest.Image(s.Onto); img.Size < below.Size {
			if err := qemu.Shrink(ctx, lower, img.Size); err != nil {
				return err
			}
		}
		if err := t.Folder.SyncFiles(s.Onto); err != nil {
			return err
		}
		faultpoint.Hit("target-merged")
	}
	indexApart, err := twoFiles(t.Folder.Path(lowerIndex), t.Folder.Path(upperIndex))
	if err != nil {
		return err
	}
	if indexApart {
		if err := blockindex.Merge(ctx, t.Folder.Path(lowerIndex), t.Folder.Path(upperIndex)); err != nil {
			return err
		}
	}
	if apart {
		if err := t.putInPlace(s.Onto, s.Image); err != nil {
			return err
		}
	}
	faultpoint.Hit("target-renamed")
	if indexApart {
		if err := t.putInPlace(lowerIndex, upperIndex); err != nil {
			return err
		}
	}
	return t.Folder.SyncFiles(s.Image, upperIndex)
}

// putInPlace gives a file the name of another one, atomically. Its old name stays until
// the step is done: somebody may just have read it in the header of the image that had
// the name so far, and be about to open it.
func (t *Tree) putInPlace(name, as string) error {
	tmp := t.Folder.Path(store.TempName(as))
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Link(t.Folder.Path(name), tmp); err != nil {
		tmp = t.Folder.Path(name) // not every file system has links
	}
	return os.Rename(tmp, t.Folder.Path(as))
}

// liesOver tells whether an image still lies over the one that it is to be merged into. It
// does not any more when that has taken its place.
func liesOver(ctx context.Context, upper, lower string) (bool, error) {
	if there, err := exists(lower); err != nil || !there {
		return false, err
	}
	info, err := qemu.Inspect(ctx, upper)
	return info.Backing == filepath.Base(lower), err
}

// twoFiles tells whether a file is there that is not another one under a second name.
func twoFiles(name, other string) (bool, error) {
	a, err := os.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	b, err := os.Lstat(other)
	return err == nil && !os.SameFile(a, b), err
}

// shorten makes a copy of an image that lies over a far older one, and puts it in the
// image's place.
func (t *Tree) shorten(ctx context.Context, s store.Step) error {
	tmp, tmpIndex := store.TempName(s.Image), store.TempName(store.IndexName(s.Image))
	if err := t.Folder.Remove(tmp, tmpIndex); err != nil {
		return err
	}
	if err := copyFile(ctx, t.Folder.Path(s.Image), t.Folder.Path(tmp)); err != nil {
		return err
	}
	if err := qemu.Rebase(ctx, t.Folder.Path(tmp), filepath.Base(s.Onto)); err != nil {
		return err
	}
	if err := qemu.Check(ctx, t.Folder.Path(tmp)); err != nil {
		return err
	}
	if err := t.indexShort(ctx, s, tmpIndex); err != nil {
		return err
	}
	if err := t.Own(t.Folder.Path(tmp)); err != nil {
		return err
	}
	if err := t.Folder.SyncFiles(tmp, tmpIndex); err != nil {
		return err
	}
	faultpoint.Hit("target-shortened")
	for _, names := range [][2]string{{tmp, s.Image}, {tmpIndex, store.IndexName(s.Image)}} {
		if err := os.Rename(t.Folder.Path(names[0]), t.Folder.Path(names[1])); err != nil {
			return err
		}
	}
	return t.Folder.SyncFiles(s.Image, store.IndexName(s.Image))
}

// indexShort makes the index of a shortened image: of all the images that it takes in.
func (t *Tree) indexShort(ctx context.Context, s store.Step, out string) error {
	over := false
	for _, img := range t.Manifest.Chain(s.Image) {
		name := t.Folder.Path(store.IndexName(img.Name))
		switch {
		case !over:
		default:
			there, err := exists(t.Folder.Path(out))
			if err == nil && there {
				err = blockindex.Merge(ctx, t.Folder.Path(out), name)
			} else if err == nil {
				err = copyFile(ctx, name, t.Folder.Path(out))
			}
			if err != nil {
				return err
			}
		}
		over = over || img.Name == s.Onto
	}
	return nil
}

// copyFile copies a file that is mostly holes.
func copyFile(ctx context.Context, from, to string) error {
	p, err := proc.Start(ctx, proc.Cmd{Argv: []string{"cp", "--sparse=always", "--reflink=auto", "--", from, to}, Package: "coreutils", Env: append(os.Environ(), "LC_ALL=C")})
	if err != nil {
		return err
	}
	return qemu.Classify(p.Wait())
}

// noSpace recognises a full file system, whoever met it.
func noSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, qemu.ErrNoSpace)
}

// save replaces the manifest.
func (t *Tree) save(m *store.Manifest) error {
	if err := t.Folder.Save(m); err != nil {
		return err
	}
	t.Manifest = m
	return nil
}

func exists(path string) (bool, error) {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
