package replicator

import (
	"cmp"
	"context"

	"vmsync/internal/event"
	"vmsync/internal/retention"
)

// weigh looks whether enough has changed for a new state, where that is asked for. What a
// member of a group finds holds if no other finds enough.
func (r *run) weigh(ctx context.Context) error {
	if err := r.weighOwn(ctx); err != nil {
		return err
	}
	enough, err := r.req.Seat.planned(ctx, r.skipped == nil)
	if err == nil && enough {
		r.skipped = nil
	}
	return err
}

func (r *run) weighOwn(ctx context.Context) error {
	if (r.req.MinChanged <= 0 && !r.req.SkipUnchanged) || !r.plan.onlyChanges(r.target.Head) || r.other() {
		return nil
	}
	changed, err := r.src.Changed(ctx, r.plan.Parent)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		// As where the bitmaps are broken. The run itself finds another way.
		r.out.Emit(event.Notice{Message: "cannot tell beforehand how much has changed: " + AsError(err).Text()})
		return nil
	}
	if n, known := r.plan.changed(changed); known && tooLittle(n, r.req.MinChanged) {
		r.skipped = &event.Skipped{Run: r.req.Run, Domain: r.source.Name, ChangedBytes: n, MinChanged: r.req.MinChanged}
	}
	return nil
}

// other tells whether a new state would be another one for what is not on the disks: the
// machine's definition, or how many states are kept from then on.
func (r *run) other() bool {
	defined, head := r.source.Shape.Definition, r.target.Head.Definition
	if defined != "" && head != "" && defined != head {
		return true
	}
	if r.req.Keep == "" {
		return false
	}
	wanted, err := retention.Parse(r.req.Keep)
	now, nowErr := retention.Parse(cmp.Or(r.target.Keep, "0"))
	return err != nil || nowErr != nil || wanted.String() != now.String()
}

// tooLittle tells whether so many changed bytes are not worth a state. None never are.
func tooLittle(changed, minimum int64) bool { return changed == 0 || changed < minimum }

// onlyChanges tells whether a run by the plan would bring what changed on the head's disks
// and nothing else. A disk more or less is worth a state of its own.
func (p *Plan) onlyChanges(head *Head) bool {
	if head == nil || p.Parent == "" || len(p.Disks) != len(head.Disks) {
		return false
	}
	for _, d := range p.Disks {
		if !d.Incremental {
			return false
		}
	}
	return true
}

// changed adds up what has changed on the plan's disks; not known if it is not of one.
func (p *Plan) changed(by map[string]int64) (sum int64, known bool) {
	for _, d := range p.Disks {
		n, ok := by[d.Name]
		if !ok {
			return 0, false
		}
		sum += min(n, d.Size)
	}
	return sum, true
}
