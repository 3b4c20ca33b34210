package source

import (
	"context"
	"errors"

	"vmsync/replicator"
)

// Changed implements replicator.SourceEnd.
func (e *End) Changed(ctx context.Context, checkpoint string) (map[string]int64, error) {
	op := "measure what changed since checkpoint " + checkpoint
	if e.closed || e.dom == nil || e.run != nil {
		return nil, e.sequence(op)
	}
	if _, _, ok := replicator.ParseCheckpointName(checkpoint); !ok {
		return nil, e.fail(replicator.KindRequest, op, "", errors.New("it is not vmsync's"))
	}
	changed, err := e.dom.ChangedSince(ctx, checkpoint)
	if err != nil {
		return nil, e.fail("", op, "", err)
	}
	return changed, nil
}
