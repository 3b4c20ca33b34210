package fusefs

import (
	"errors"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"vmsync/fusefs/filesystem"
)

// enter answers a lookup with the root directory of a guest's filesystem.
func (t *tree) enter(root *guestRoot, out *fuse.EntryOut) fuse.Status {
	v := t.sessions.volume(root.session, root.volume)
	err := v.use(func(fsys filesystem.FS) error {
		a, err := fsys.Stat(fsys.Root())
		if err != nil {
			return err
		}
		node, err := v.node(fsys.Root())
		if err != nil {
			return err
		}
		t.options.Owners.guest(&a)
		fillEntry(out, node, &a, forever)
		// The kernel asks again after a while, and so learns of states that are gone.
		out.SetEntryTimeout(briefly)
		return nil
	})
	if err != nil {
		v.lookups.Add(-1)
		return t.status(err, func() failure { return failure{root.session.replica.domain, root.session.state, v.name, "/"} })
	}
	t.paths.found(out.NodeId, 0, "")
	return fuse.OK
}

// onGuest calls a function with a guest's file.
func (t *tree) onGuest(node uint64, do func(*guestFS, filesystem.FS, filesystem.ID) error) fuse.Status {
	v, id := t.sessions.byNode(node)
	if v == nil {
		return fuse.Status(unix.ESTALE)
	}
	err := v.use(func(fsys filesystem.FS) error { return do(v, fsys, id) })
	if err == nil {
		return fuse.OK
	}
	return t.status(err, t.at(v, node))
}

func (t *tree) lookupGuest(dir uint64, name string, out *fuse.EntryOut) fuse.Status {
	return t.onGuest(dir, func(v *guestFS, fsys filesystem.FS, id filesystem.ID) error {
		found, err := fsys.Lookup(id, name)
		if errors.Is(err, filesystem.ErrNotExist) {
			out.SetEntryTimeout(forever) // node 0: it will never be there
			return nil
		}
		if err != nil {
			return err
		}
		node, err := v.node(found)
		if err != nil {
			return err
		}
		t.paths.found(node, dir, name)
		a, err := fsys.Stat(found)
		if err != nil {
			t.failures.report(t.at(v, node)(), err)
			return errReported
		}
		t.options.Owners.guest(&a)
		fillEntry(out, node, &a, forever)
		v.lookups.Add(1)
		return nil
	})
}

func (t *tree) statGuest(node uint64) (a filesystem.Attr, status fuse.Status) {
	status = t.onGuest(node, func(_ *guestFS, fsys filesystem.FS, id filesystem.ID) (err error) {
		if a, err = fsys.Stat(id); err == nil {
			t.options.Owners.guest(&a)
		}
		return err
	})
	return a, status
}

func (t *tree) readlinkGuest(node uint64) (target []byte, status fuse.Status) {
	status = t.onGuest(node, func(_ *guestFS, fsys filesystem.FS, id filesystem.ID) error {
		text, err := fsys.Readlink(id)
		target = []byte(text)
		return err
	})
	return target, status
}

func (t *tree) openGuest(node uint64, out *fuse.OpenOut) fuse.Status {
	return t.onGuest(node, func(v *guestFS, fsys filesystem.FS, id filesystem.ID) error {
		f, err := fsys.Open(id)
		if err != nil {
			return err
		}
		out.Fh = t.handles.add(&openFile{v.session.counted(f), t.at(v, node)})
		out.OpenFlags = fuse.FOPEN_KEEP_CACHE | fuse.FOPEN_NOFLUSH
		return nil
	})
}

func (t *tree) statfsGuest(node uint64, out *fuse.StatfsOut) fuse.Status {
	return t.onGuest(node, func(_ *guestFS, fsys filesystem.FS, _ filesystem.ID) error {
		info := fsys.Info()
		*out = fuse.StatfsOut{Blocks: info.Blocks, Bfree: info.Free, Bavail: info.Free, Files: info.Files, Ffree: info.FilesFree,
			Bsize: uint32(info.BlockSize), Frsize: uint32(info.BlockSize), NameLen: info.NameMax}
		return nil
	})
}
