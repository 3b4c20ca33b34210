package libvirt

import (
	"context"

	lv "libvirt.org/go/libvirt"
)

// State is a domain's state with libvirt's reason for it.
type State struct {
	State  lv.DomainState
	Reason int // one of the lv.DOMAIN_…_… constants of that state
}

// State returns the domain's state.
func (d *Domain) State(ctx context.Context) (State, error) {
	return on(ctx, d, "read the domain's state", again, func(dom *lv.Domain) (State, error) {
		s, reason, err := dom.GetState()
		return State{s, reason}, err
	})
}

// BackupPossible says whether qemu runs and is not about to end.
func (s State) BackupPossible() bool {
	switch s.State {
	case lv.DOMAIN_RUNNING, lv.DOMAIN_BLOCKED, lv.DOMAIN_PAUSED, lv.DOMAIN_PMSUSPENDED:
		return true
	default:
		return false
	}
}

// GuestRuns says whether the guest's processors run, so that an agent could answer.
func (s State) GuestRuns() bool { return s.State == lv.DOMAIN_RUNNING || s.State == lv.DOMAIN_BLOCKED }

// Off says whether the domain has ended.
func (s State) Off() bool { return s.State == lv.DOMAIN_SHUTOFF || s.State == lv.DOMAIN_CRASHED }

// PausedByIOError says whether qemu stopped the guest because a write failed, as
// when a scratch file cannot grow.
func (s State) PausedByIOError() bool {
	return s.State == lv.DOMAIN_PAUSED && lv.DomainPausedReason(s.Reason) == lv.DOMAIN_PAUSED_IOERROR
}

// String gives the state in the words of virsh domstate --reason.
func (s State) String() string {
	word, ok := stateWords[s.State]
	if !ok {
		word = "unknown state"
	}
	if reason := s.reasonWord(); reason != "" {
		return word + " (" + reason + ")"
	}
	return word
}

var stateWords = map[lv.DomainState]string{
	lv.DOMAIN_NOSTATE: "no state", lv.DOMAIN_RUNNING: "running", lv.DOMAIN_BLOCKED: "running",
	lv.DOMAIN_PAUSED: "paused", lv.DOMAIN_SHUTDOWN: "shutting down", lv.DOMAIN_SHUTOFF: "shut off",
	lv.DOMAIN_CRASHED: "crashed", lv.DOMAIN_PMSUSPENDED: "suspended by its guest",
}

func (s State) reasonWord() string {
	switch s.State {
	case lv.DOMAIN_PAUSED:
		switch lv.DomainPausedReason(s.Reason) {
		case lv.DOMAIN_PAUSED_IOERROR:
			return "I/O error"
		case lv.DOMAIN_PAUSED_MIGRATION, lv.DOMAIN_PAUSED_POSTCOPY:
			return "migration"
		case lv.DOMAIN_PAUSED_SAVE:
			return "save"
		case lv.DOMAIN_PAUSED_DUMP:
			return "dump"
		case lv.DOMAIN_PAUSED_SNAPSHOT:
			return "snapshot"
		case lv.DOMAIN_PAUSED_CRASHED:
			return "crashed"
		case lv.DOMAIN_PAUSED_SHUTTING_DOWN:
			return "shutting down"
		}
	case lv.DOMAIN_SHUTOFF:
		switch lv.DomainShutoffReason(s.Reason) {
		case lv.DOMAIN_SHUTOFF_CRASHED:
			return "crashed"
		case lv.DOMAIN_SHUTOFF_DESTROYED:
			return "destroyed"
		case lv.DOMAIN_SHUTOFF_MIGRATED:
			return "migrated away"
		case lv.DOMAIN_SHUTOFF_SAVED:
			return "saved"
		case lv.DOMAIN_SHUTOFF_SHUTDOWN:
			return "shutdown"
		case lv.DOMAIN_SHUTOFF_FAILED:
			return "failed"
		}
	}
	return ""
}
