package replicator

import (
	"context"
	"time"
)

// SourceSteps is [SourceEnd].Begin in parts, for machines whose checkpoints are taken
// together: all are frozen before the first checkpoint is made, and none is thawed before
// the last. The methods are called in this order; Release may follow any of them, and
// Close, which takes everything back as well.
//
// From Freeze on the source keeps its own time: it thaws the guest [LongestHold] after
// Freeze has frozen it, whatever the controller does or does not.
type SourceSteps interface {
	// Ready does all of Begin that takes long, and what may fail, before the guest is
	// frozen: it forgets checkpoints, looks for room and for other jobs, starts the guard,
	// and asks the guest's agent. Errors are those of Begin; one that must be frozen and
	// whose agent does not answer is of KindNotFrozen.
	Ready(ctx context.Context, req BeginRequest) error
	// Freeze freezes the guest, as far as the request of Ready wants that and within
	// [FreezeLimit]. That it could not is an error, of KindNotFrozen, only where it must.
	Freeze(ctx context.Context) error
	// Checkpoint begins checkpoint and backup in one libvirt call. A guest that was thawed
	// before, and must not be, gives an error of KindNotFrozen. After one of
	// KindCheckpointInconsistent Release makes ready for another Ready.
	Checkpoint(ctx context.Context) error
	// Thaw thaws the guest and starts the data plane on the export. A guest that was
	// thawed before, and must not be, gives an error of KindNotFrozen.
	Thaw(ctx context.Context) (*Begun, error)
	// Release takes back what was done since Ready: it thaws the guest, ends the backup
	// job and deletes the checkpoint. Then Ready or Begin may be called again.
	Release(ctx context.Context) error
}

const (
	// LongestHold is how long a guest stays frozen for the others of its group at most. Windows
	// guests let go by themselves after as long.
	LongestHold = 10 * time.Second
	// FreezeLimit is how long the agent of a machine of a group may take to freeze it.
	FreezeLimit = 6 * time.Second
)
