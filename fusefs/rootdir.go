package fusefs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"vmsync/fusefs/filesystem"
	"vmsync/internal/store"
)

// rootDir is the mount point: a folder for each replica.
type rootDir struct {
	place
	tree *tree
}

func (d *rootDir) attr() (filesystem.Attr, error) {
	a := d.attributes(unix.S_IFDIR, 0)
	info, err := os.Stat(d.tree.options.Store)
	if err == nil {
		a.Mtime, a.Ctime = info.ModTime(), info.ModTime()
	} else if !errors.Is(err, fs.ErrNotExist) {
		return a, err
	}
	return a, nil
}

func (d *rootDir) list() ([]filesystem.Entry, error) {
	names, err := store.Replicas(d.tree.options.Store)
	if err != nil {
		return nil, err
	}
	var entries []filesystem.Entry
	for _, name := range names {
		if d.tree.options.shows(name) {
			entries = append(entries, folderEntry(name))
		}
	}
	return entries, nil
}

func (d *rootDir) lookup(name string) (any, error) {
	if store.CheckDomainName(name) != nil || !d.tree.options.shows(name) {
		return nil, filesystem.ErrNotExist
	}
	path := filepath.Join(d.tree.options.Store, name, store.ManifestName)
	if _, err := stampOf(path); errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil, filesystem.ErrNotExist
	} else if err != nil {
		return nil, err
	}
	return &replicaDir{d.tree.replica(name)}, nil
}

// shows says whether a replica is part of the tree.
func (o *Options) shows(domain string) bool {
	return len(o.Domains) == 0 || slices.Contains(o.Domains, domain)
}
