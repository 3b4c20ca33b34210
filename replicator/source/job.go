package source

import (
	"context"
	"time"

	"vmsync/internal/libvirt"
)

const (
	// beginsWithin is how long a backup of another program may take to begin until it is
	// taken for one that libvirt has lost.
	beginsWithin = 5 * time.Second
	beginsTick   = 250 * time.Millisecond
)

// job names the domain's job. A [libvirt.JobVague] is one that stays.
func (e *End) job(ctx context.Context) (string, error) {
	tick := time.NewTicker(beginsTick)
	defer tick.Stop()
	for began := time.Now(); ; {
		job, err := e.dom.Job(ctx)
		if err != nil || job != libvirt.JobVague || time.Since(began) > beginsWithin {
			return job, err
		}
		select {
		case <-ctx.Done():
			return "", context.Cause(ctx)
		case <-tick.C:
		}
	}
}
