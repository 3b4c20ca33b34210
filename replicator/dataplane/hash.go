package dataplane

import (
	"context"
	"errors"
	"fmt"

	"vmsync/internal/qemu"
	"vmsync/nbdproxy/spec"
)

// HashImage serves one image and has program make the block index of it that d
// describes, whose socket and export it fills in. progress, unless nil, is as of
// [Session.Wait]. Where the image cannot be read the error is of KindExport; where its
// server ended by itself the error says so, too.
func HashImage(ctx context.Context, program string, e qemu.Export, d spec.HashDisk, progress func(spec.Progress)) (result spec.DiskResult, err error) {
	server, err := qemu.Serve(ctx, context.WithoutCancel(ctx), e)
	if err != nil {
		return result, err
	}
	defer func() {
		if serr := server.Stop(); serr != nil {
			err = errors.Join(err, &ServerError{serr})
		}
	}()
	d.Socket, d.Export = e.Socket, e.Name
	session, err := Start(ctx, program, Hash, spec.Hash{Version: spec.Version, Disks: []spec.HashDisk{d}})
	if err != nil {
		return result, err
	}
	defer session.Stop()
	results, _, err := session.Wait(ctx, progress)
	if err == nil && len(results) != 1 {
		err = fmt.Errorf("%s told of %d disks", programName, len(results))
	}
	if err != nil {
		return result, err
	}
	return results[0], nil
}

// ServerError says that an image's server did not end well.
type ServerError struct{ err error }

func (e *ServerError) Error() string { return e.err.Error() }

func (e *ServerError) Unwrap() error { return e.err }
