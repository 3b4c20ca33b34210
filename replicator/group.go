package replicator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"vmsync/internal/event"
)

// A consistency group is several machines whose checkpoints are taken together. Each is
// synced by a [Sync] of its own; where their steps depend on each other they meet, at the
// stages of a [Meeting].

// Set names the states of several machines that were taken together. Each of the states
// carries it; the set is complete where each member has one.
type Set struct {
	ID   string `json:"id"`   // 12 hex digits
	Name string `json:"name"` // of the group
	// Members are the replicas of all machines of the group, whether they take part or
	// not, sorted.
	Members []string `json:"members"`
	// OneInstant says that all who took part stood still from before the first checkpoint
	// until after the last.
	OneInstant bool `json:"one_instant"`
}

// errAgain says that another member has to begin again, and all with it.
var errAgain = errors.New("another machine of the group has to begin again")

// beginTogether is Begin for a member of a group. After an error with which the members
// begin again nothing is begun.
func (r *run) beginTogether(ctx context.Context, begin BeginRequest) error {
	seat := r.req.Seat
	alone, err := seat.prepared(ctx)
	if err != nil {
		return err
	}
	if alone {
		r.out.Emit(event.Warning{Message: "the other machines of the group could not wait any longer for this one to get ready: it is synced by itself"})
		r.begun, err = r.src.Begin(ctx, begin)
		return err
	}
	if err := r.meet(ctx, stageReady, r.src.Ready(ctx, begin)); err != nil {
		return err
	}
	if err := r.meet(ctx, stageFrozen, r.src.Freeze(ctx)); err != nil {
		return err
	}
	if err := r.meet(ctx, stageTaken, r.src.Checkpoint(ctx)); err != nil {
		return err
	}
	if r.begun, err = r.src.Thaw(ctx); err != nil {
		return err
	}
	seat.thawed(r.begun.StoodStill)
	return nil
}

// meet goes to a stage with what a step has come to, and returns when all are there. Where
// members have to begin again it takes back what was begun.
func (r *run) meet(ctx context.Context, s stage, stepErr error) error {
	unusable := KindOf(stepErr) == KindCheckpointInconsistent && r.plan.Parent != ""
	if stepErr != nil && !unusable {
		return stepErr // and leaves
	}
	again, err := r.req.Seat.arrive(ctx, s, unusable)
	if errors.Is(err, errLeftBehind) {
		return &Error{Kind: KindLeftBehind, Domain: r.source.Name, Op: "take the checkpoint together with the group's",
			Hint: "see why the guest's agent or libvirt is slow there; the machine is tried again", Err: err}
	}
	if err != nil || !again {
		return err
	}
	// A Ready that has failed has left nothing to take back.
	if !unusable || s != stageReady {
		if err := r.src.Release(ctx); err != nil {
			return err
		}
	}
	if unusable {
		return stepErr
	}
	r.out.Emit(event.Notice{Message: errAgain.Error() + "; so does this one"})
	return errAgain
}

// set is the set that the new state belongs to; nil for none. It waits until all
// members have thawed.
func (r *run) set(ctx context.Context) (*Set, error) {
	set, missing, err := r.req.Seat.set(ctx)
	if set == nil || err != nil {
		return nil, err
	}
	if len(missing) > 0 {
		r.out.Emit(event.Warning{Message: fmt.Sprintf("set %s of group %s is not complete: %s did not take part", set.ID, set.Name, strings.Join(missing, ", "))})
	}
	if !set.OneInstant {
		r.out.Emit(event.Warning{Message: fmt.Sprintf("set %s of group %s is not of one instant: not all guests were frozen while the checkpoints were taken", set.ID, set.Name)})
	}
	return set, nil
}

// missingOf are the members of a group who are not among those who took part.
func missingOf(members, took []string) []string {
	return slices.DeleteFunc(slices.Clone(members), func(m string) bool { return slices.Contains(took, m) })
}
