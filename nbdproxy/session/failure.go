package session

import (
	"context"
	"errors"
	"net"

	"vmsync/internal/blockindex"
	"vmsync/nbdproxy/apply"
	"vmsync/nbdproxy/export"
	"vmsync/nbdproxy/spec"
	"vmsync/nbdproxy/stream"
)

// failure is an error whose kind is known where it arises.
type failure struct {
	kind string
	err  error
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

func specError(err error) error { return &failure{spec.KindSpec, err} }
func peerError(err error) error { return &failure{spec.KindPeer, err} }

// describe tells an agent what it needs to know about an error.
func describe(err error) *spec.Error {
	kind, disk := classify(err)
	return &spec.Error{Kind: kind, Disk: disk, Message: err.Error()}
}

func classify(err error) (kind, disk string) {
	var f *failure
	var ex *export.Error
	var ix *export.IndexError
	var ap *apply.Error
	var op *net.OpError
	switch {
	case errors.As(err, &f):
		return f.kind, ""
	case errors.Is(err, context.Canceled):
		return spec.KindStopped, "" // a signal
	case errors.As(err, &ex):
		return spec.KindExport, ex.Disk
	case errors.As(err, &ix):
		return indexKind(ix.Err), ix.Disk
	case errors.As(err, &ap) && apply.NoSpace(err):
		return spec.KindNoSpace, ap.Disk
	case errors.As(err, &ap):
		return spec.KindTarget, ap.Disk
	case errors.Is(err, apply.ErrMismatch):
		return spec.KindMismatch, ""
	case errors.Is(err, stream.ErrInvalid):
		return spec.KindStream, ""
	case errors.Is(err, stream.ErrTruncated), errors.As(err, &op):
		// Connections to NBD servers were dealt with above; what is left is the
		// stream's.
		return spec.KindPeer, ""
	}
	return spec.KindOther, ""
}

// indexKind is the kind of what went wrong with an index file.
func indexKind(err error) string {
	switch {
	case errors.Is(err, blockindex.ErrFormat), errors.Is(err, blockindex.ErrVersion):
		return spec.KindSpec
	case apply.NoSpace(err):
		return spec.KindNoSpace
	}
	return spec.KindOther
}
