package ours

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"vmsync/replicator"
)

// A checkpoint is pending when nobody but its run knows what became of its stream.
// If that run dies, the next one finds the mark, deletes the checkpoint, and nothing
// of it is left. One domain has at most one: runs hold the domain's lock.

func pendingPath(runDir, uuid string) string {
	return filepath.Join(runDir, "pending", filepath.Base(uuid))
}

// Pend records that a checkpoint, which may exist from now on, is to go unless
// [Unpend] is called.
func Pend(runDir, uuid, checkpoint string) error {
	path := pendingPath(runDir, uuid)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("mark the checkpoint as pending: %w", err)
	}
	if err := os.WriteFile(path, []byte(checkpoint+"\n"), 0o600); err != nil {
		return fmt.Errorf("mark the checkpoint as pending: %w", err)
	}
	return nil
}

// Pending returns the name of a domain's pending checkpoint, "" if there is none. A
// mark that names no checkpoint of vmsync is of a run that died before it made one: it
// is removed.
func Pending(runDir, uuid string) (string, error) {
	name, err := ReadPending(runDir, uuid)
	if err == nil && name == "" {
		err = Unpend(runDir, uuid)
	}
	return name, err
}

// ReadPending is Pending that changes nothing.
func ReadPending(runDir, uuid string) (string, error) {
	f, err := os.Open(pendingPath(runDir, uuid))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("look for a pending checkpoint: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 256))
	if err != nil {
		return "", fmt.Errorf("look for a pending checkpoint: %w", err)
	}
	name, whole := strings.CutSuffix(string(text), "\n")
	if _, _, ok := replicator.ParseCheckpointName(name); !ok || !whole {
		return "", nil
	}
	return name, nil
}

// Unpend takes the mark back.
func Unpend(runDir, uuid string) error {
	if err := os.Remove(pendingPath(runDir, uuid)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the mark of a pending checkpoint: %w", err)
	}
	return nil
}
