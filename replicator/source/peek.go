package source

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"vmsync/replicator"
)

const (
	// peekLimit is how long libvirt may take to tell of one domain; one that hangs is not
	// to keep it from telling of others.
	peekLimit = 2 * time.Second
	// peeksAtOnce: libvirtd serves five calls of a connection at the same time.
	peeksAtOnce = 4
	maxPeeks    = 10000
)

// Peek implements replicator.SourceEnd.
func (e *End) Peek(ctx context.Context, marks []replicator.Mark) ([]replicator.Peek, error) {
	const op = "look for changes"
	if e.closed || e.dom != nil {
		return nil, e.sequence(op)
	}
	if len(marks) > maxPeeks {
		return nil, e.fail(replicator.KindRequest, op, "", fmt.Errorf("%d domains at once", len(marks)))
	}
	if err := e.connect(ctx, op); err != nil {
		return nil, err
	}
	peeks := make([]replicator.Peek, len(marks))
	var g errgroup.Group
	g.SetLimit(peeksAtOnce)
	for i := range marks {
		g.Go(func() error {
			peek, err := e.peek(ctx, &marks[i])
			if err != nil {
				peek = replicator.Peek{Unknown: err.Error()}
			}
			peeks[i] = peek
			return nil
		})
	}
	_ = g.Wait() // none returns an error
	return peeks, ctx.Err()
}

// peek looks at one domain. The shape comes last: where it is the mark's, it was so when
// the changes were measured, and they are of the disks that the mark means.
func (e *End) peek(ctx context.Context, m *replicator.Mark) (p replicator.Peek, err error) {
	if _, _, ok := replicator.ParseCheckpointName(m.Checkpoint); !ok {
		return p, fmt.Errorf("checkpoint %q is not vmsync's", m.Checkpoint)
	}
	ctx, cancel := context.WithTimeout(ctx, peekLimit)
	defer cancel()
	dom, err := e.peekable(ctx, m)
	if err != nil {
		return p, err
	}
	if p.Changed, err = dom.ChangedSince(ctx, m.Checkpoint); err != nil {
		return p, err
	}
	shape, err := dom.Shape(ctx)
	p.Shape = replicator.Shape(shape)
	return p, err
}
