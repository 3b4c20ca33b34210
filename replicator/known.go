package replicator

import (
	"context"
	"fmt"

	"vmsync/internal/event"
)

// handKnown brings to the source what the target holds of some disks, and notes in the
// request of which.
func (r *run) handKnown(ctx context.Context, known []KnownDisk, begin *BeginRequest) error {
	for _, k := range known {
		if k.Resumed {
			r.out.Emit(event.Notice{Message: fmt.Sprintf("disk %s: going on with what an earlier run has received", k.Name)})
		}
		for at := int64(0); ; {
			part, err := r.dst.Known(ctx, KnownRequest{Disk: k.Name, Offset: at})
			if err != nil {
				return err
			}
			if err := r.src.TakeKnown(ctx, *part); err != nil {
				return err
			}
			if at = part.Next; at >= part.Size {
				break
			}
		}
		for i := range begin.Disks {
			if d := &begin.Disks[i]; d.Name == k.Name {
				d.Known, d.KnownPart = true, k.Partial
			}
		}
	}
	return nil
}
