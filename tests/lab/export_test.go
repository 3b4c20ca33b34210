package lab

import (
	"context"
	"fmt"
	"path/filepath"
)

// UpOwnedBy is Up for a lab that another process owns.
func UpOwnedBy(ctx context.Context, cfg Config, pid int) (*Lab, error) {
	owner, ok := findProcess(pid)
	if !ok {
		return nil, fmt.Errorf("no process %d", pid)
	}
	return up(ctx, cfg, &owner)
}

// Tool is the lab command the lab runs its helpers with.
func (l *Lab) Tool() string { return l.tool }

// KillReaper kills the process that waits for the owner's death.
func (l *Lab) KillReaper() error {
	return removeCgroup(filepath.Join(labCgroup(l.name), "lab-reaper"))
}
