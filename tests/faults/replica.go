package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"vmsync/internal/store"
	"vmsync/tests/lab"
)

// replica is what a store says of one, while no run can change it. All that this
// program knows of the store's format is in this file.
type replica struct {
	folder *store.Folder
	dir    string // path on the machine that runs this program
	pair   string
	last   int64 // highest generation given out
	states []state
	files  map[string]bool // that the manifest names
}

// state is one that the manifest lists, oldest first.
type state struct {
	id, checkpoint string
	generation     int64
	images         map[string]string // path of the image that reads as the disk, by target
}

// lockPatience is how long a run that nobody waits for may still hold a replica.
const lockPatience = 75 * time.Second

// openReplica locks and reads a replica; nil if there is none yet. Close it.
func openReplica(ctx context.Context, h *lab.Host, storeDir, domain string) (*replica, error) {
	dir := filepath.Join(h.Path(storeDir), domain)
	var folder *store.Folder
	if err := eventually(ctx, lockPatience, "the replica's lock is free", func() (bool, error) {
		_, err := os.Stat(filepath.Join(dir, "manifest.json"))
		if errors.Is(err, fs.ErrNotExist) {
			return true, nil // lock nothing: that would make it
		}
		if err == nil {
			folder, err = store.Lock(h.Path(storeDir), domain)
		}
		return err == nil, err
	}); err != nil || folder == nil {
		return nil, err
	}
	m, err := folder.Load()
	if err != nil {
		return nil, errors.Join(err, folder.Unlock())
	}
	r := &replica{folder: folder, dir: dir, pair: m.Pair, last: m.LastGeneration, files: m.Files()}
	for _, s := range m.States {
		images := make(map[string]string)
		for _, d := range s.Disks {
			images[d.Name] = filepath.Join(dir, d.Image)
		}
		r.states = append(r.states, state{id: s.ID, checkpoint: s.Checkpoint, generation: s.Generation, images: images})
	}
	return r, nil
}

func (r *replica) close() error { return r.folder.Unlock() }

// head is the newest state; nil if there is none.
func (r *replica) head() *state {
	if len(r.states) == 0 {
		return nil
	}
	return &r.states[len(r.states)-1]
}

// own are the files of every replica that the manifest does not name.
var own = []string{"manifest.json", "lock", "pins/lock"}

// debris names the files in the folder that the manifest does not.
func (r *replica) debris() ([]string, error) {
	var left []string
	err := filepath.WalkDir(r.dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		name, err := filepath.Rel(r.dir, path)
		if err != nil {
			return err
		}
		if !slices.Contains(own, name) && !r.files[filepath.ToSlash(name)] {
			left = append(left, fmt.Sprintf("%s in the store", name))
		}
		return nil
	})
	return left, err
}
