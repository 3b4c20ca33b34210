package btrfs

import (
	"errors"
	"fmt"
	"iter"

	"golang.org/x/sys/unix"

	"vmsync/fusefs/filesystem"
)

// Root implements filesystem.FS.
func (r *reader) Root() filesystem.ID { return r.root }

// directory is a file that has to be a directory.
func (r *reader) directory(id filesystem.ID) (fileRef, *tree, error) {
	f, t, item, err := r.file(id)
	if err != nil {
		return f, nil, err
	}
	if item.kind() != unix.S_IFDIR {
		return f, nil, fmt.Errorf("inode %d of subvolume %d: %w", f.inode, f.tree, filesystem.ErrNotDir)
	}
	return f, t, nil
}

// Lookup implements filesystem.FS.
func (r *reader) Lookup(dir filesystem.ID, name string) (filesystem.ID, error) {
	f, t, err := r.directory(dir)
	if err != nil {
		return 0, err
	}
	if f.stub || name == "" || len(name) > maxName {
		return 0, fmt.Errorf("%q: %w", name, filesystem.ErrNotExist)
	}
	e, err := t.findName(f.inode, kindDirItem, name)
	if err != nil {
		return 0, err
	}
	return r.follow(f, e)
}

// follow returns the file that a directory entry leads to.
func (r *reader) follow(dir fileRef, e dirEntry) (filesystem.ID, error) {
	switch {
	case e.kind&dirEntryEncrypted != 0:
		return 0, unsupported("directory %d of subvolume %d: encrypted names", dir.inode, dir.tree)
	case e.location.kind == kindInodeItem:
		return r.ids.pack(fileRef{dir.tree, e.location.object, false})
	case e.location.kind == kindRootItem:
		return r.subvolumeAt(dir, string(e.name), e.location.object)
	}
	return 0, corrupt("directory %d of subvolume %d: %q leads to %v", dir.inode, dir.tree, e.name, e.location)
}

// ReadDir implements filesystem.FS. The order is that in which the names were made.
func (r *reader) ReadDir(dir filesystem.ID) iter.Seq2[filesystem.Entry, error] {
	return func(yield func(filesystem.Entry, error) bool) {
		f, t, err := r.directory(dir)
		if err != nil {
			yield(filesystem.Entry{}, err)
			return
		}
		if f.stub {
			return
		}
		c, err := t.seek(key{f.inode, kindDirIndex, 0})
		for ; err == nil && c.in(f.inode, kindDirIndex); err = c.next() {
			e, err := parseDirEntry(c.item)
			if err == nil {
				err = e.checkName()
			}
			var id filesystem.ID
			if err == nil {
				id, err = r.follow(f, e)
			}
			if errors.Is(err, filesystem.ErrNotExist) {
				continue
			}
			if err != nil {
				yield(filesystem.Entry{}, fmt.Errorf("directory %d of subvolume %d: %w", f.inode, f.tree, err))
				return
			}
			if !yield(filesystem.Entry{Name: string(e.name), ID: id, Mode: e.mode()}, nil) {
				return
			}
		}
		if err != nil {
			yield(filesystem.Entry{}, fmt.Errorf("directory %d of subvolume %d: %w", f.inode, f.tree, err))
		}
	}
}
