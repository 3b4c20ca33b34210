package source

import (
	"context"
	"errors"
	"os"

	"vmsync/internal/libvirt"
	"vmsync/replicator"
	"vmsync/replicator/source/ours"
)

// fail makes the error that the controller gets, with a kind from libvirt's code
// unless the caller knows better.
func (e *End) fail(kind, op, hint string, err error) error {
	if kind == "" {
		kind = kindOf(err)
	}
	name := ""
	if e.dom != nil {
		name = e.dom.Name
	}
	return &replicator.Error{Kind: kind, Domain: name, Op: op, Hint: hint, Err: withoutDomain(op, err)}
}

// withoutDomain keeps libvirt's error but not a second mention of domain and
// operation in its text.
func withoutDomain(op string, err error) error {
	call, ok := err.(*libvirt.Error)
	if !ok {
		return err
	}
	text := call.Text()
	if call.Op != op {
		text = call.Op + ": " + text
	}
	return &retold{text: text, err: err}
}

type retold struct {
	text string
	err  error
}

func (r *retold) Error() string { return r.text }
func (r *retold) Unwrap() error { return r.err }

func kindOf(err error) string {
	switch {
	case errors.Is(err, context.Canceled):
		return replicator.KindCanceled
	case errors.Is(err, ours.ErrStopping):
		return replicator.KindDomainStopped
	case errors.Is(err, errOff):
		return replicator.KindDomainOff
	case errors.Is(err, libvirt.ErrNoDomain):
		return replicator.KindUnknownDomain
	case errors.Is(err, libvirt.ErrDisconnected):
		return replicator.KindUnreachable
	case errors.Is(err, libvirt.ErrDenied), errors.Is(err, os.ErrPermission):
		return replicator.KindDenied
	case errors.Is(err, libvirt.ErrCheckpointInconsistent), errors.Is(err, libvirt.ErrNoCheckpoint):
		return replicator.KindCheckpointInconsistent
	case errors.Is(err, libvirt.ErrTimeout):
		return replicator.KindJobActive
	}
	if _, ok := errors.AsType[*replicator.BusyError](err); ok {
		return replicator.KindBusy
	}
	return replicator.KindOf(err)
}

// sequence is the error of a call that came out of order.
func (e *End) sequence(op string) error {
	return e.fail(replicator.KindSequence, op, "", errors.New("called out of order"))
}

// errOff says that checkpoints cannot be deleted with their bitmaps now.
var errOff = errors.New("the domain does not run")
