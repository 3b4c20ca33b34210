package target

import (
	"context"

	"vmsync/replicator"
	"vmsync/replicator/hosthook"
)

// Hook implements replicator.TargetEnd.
func (t *Target) Hook(ctx context.Context, req replicator.HookRequest, output func(string)) error {
	return hosthook.Run(ctx, replicator.HookOnTarget, req, output)
}
