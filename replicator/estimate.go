package replicator

import (
	"context"

	"vmsync/internal/event"
)

// EstimateSync tells what a sync would have to look at now, without doing any of it: it
// changes nothing on either end and waits for no lock. Both ends must be fresh, and only
// Close may follow.
func EstimateSync(ctx context.Context, req Request, src SourceEnd, dst TargetEnd) (*event.Estimate, error) {
	source, err := src.Inspect(ctx, InspectRequest{Domain: req.Domain, ReadOnly: true})
	if err != nil {
		return nil, err
	}
	if req.TargetDomain == "" {
		req.TargetDomain = source.Name
	}
	target, err := dst.Open(ctx, OpenRequest{Store: req.Store, TargetDomain: req.TargetDomain, ReadOnly: true})
	if err != nil {
		return nil, err
	}
	if target.Look != nil && len(target.Look.Refused) > 0 {
		return nil, target.Look.Refused[0]
	}
	plan, err := Decide(source, target, req.Options)
	if err != nil {
		return nil, err
	}
	var changed map[string]int64
	var unknown string
	if plan.Parent != "" {
		// That it cannot be told, as where the bitmaps are broken, is worth saying. The sync
		// itself finds another way.
		if changed, err = src.Changed(ctx, plan.Parent); err != nil {
			if ctx.Err() != nil {
				return nil, err
			}
			unknown = AsError(err).Text()
		}
	}
	e := plan.estimate(changed, unknown)
	e.Domain = source.Name
	return e, nil
}

// estimate is what is known beforehand of what the plan will send: of incremental disks what
// changed says, of others their size, which is the most that they can take.
func (p *Plan) estimate(changed map[string]int64, unknown string) *event.Estimate {
	e := &event.Estimate{Kind: p.Kind()}
	for _, d := range p.Disks {
		disk := event.DiskEstimate{Disk: d.Name, Kind: d.Kind(), Size: d.Size, Bytes: d.Size, Reason: d.Reason, AtMost: true}
		if d.Incremental {
			if n, known := changed[d.Name]; known {
				disk.Bytes, disk.AtMost = min(n, d.Size), false
			} else {
				disk.Reason = unknown
			}
		}
		e.Disks = append(e.Disks, disk)
		e.Bytes += disk.Bytes
		e.AtMost = e.AtMost || disk.AtMost
	}
	return e
}
