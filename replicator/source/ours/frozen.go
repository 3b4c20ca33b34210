package ours

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"vmsync/internal/libvirt"
)

// AgentTimeout is how long libvirt waits for a guest agent to carry out a command
// of ours. Its handshake with the agent takes at most 5 s of its own.
const AgentTimeout = 30 * time.Second

func markPath(runDir, uuid string) string {
	return filepath.Join(runDir, "frozen", filepath.Base(uuid))
}

// MarkFrozen records that the guest may be frozen from now on.
func MarkFrozen(runDir, uuid, name string) error {
	path := markPath(runDir, uuid)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("mark the guest as frozen: %w", err)
	}
	text := fmt.Sprintf("%s frozen by vmsync, process %d, at %s\n", name, os.Getpid(), time.Now().UTC().Format(time.RFC3339))
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return fmt.Errorf("mark the guest as frozen: %w", err)
	}
	return nil
}

// MarkedFrozen says whether a guest may be frozen by a run of vmsync.
func MarkedFrozen(runDir, uuid string) (bool, error) {
	_, err := os.Lstat(markPath(runDir, uuid))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for the mark of a frozen guest: %w", err)
	}
	return true, nil
}

// Thaw thaws the guest once and removes the mark. A domain that does not exist or
// has ended is not frozen. After an error the mark stays and the guest may be
// frozen.
func Thaw(ctx context.Context, dom *libvirt.Domain, runDir string) error {
	err := thaw(ctx, dom)
	if err != nil {
		return err
	}
	return Unmark(runDir, dom.UUID)
}

// Unmark takes the mark back, of a guest that is not frozen by vmsync.
func Unmark(runDir, uuid string) error {
	if err := os.Remove(markPath(runDir, uuid)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the mark of a frozen guest: %w", err)
	}
	return nil
}

func thaw(ctx context.Context, dom *libvirt.Domain) error {
	err := dom.Thaw(ctx)
	if err == nil {
		// Give the domain libvirt's own rule back. Should that fail, a bound on the
		// agent's answers remains, which hurts nobody.
		_ = dom.SetAgentTimeout(ctx, 0)
		return nil
	}
	state, stateErr := dom.State(ctx)
	if errors.Is(stateErr, libvirt.ErrNoDomain) || stateErr == nil && state.Off() {
		return nil
	}
	return err
}
