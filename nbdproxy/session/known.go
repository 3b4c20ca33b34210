package session

import (
	"errors"
	"fmt"

	"vmsync/internal/blockindex"
	"vmsync/nbdproxy/export"
	"vmsync/nbdproxy/spec"
)

// sources are the exports that a document asks for, with what is known of their receiver.
// The caller closes what they hold, which is nothing after an error.
func sources(s *spec.Serve) (disks []export.Disk, err error) {
	disks = make([]export.Disk, len(s.Disks))
	for i, d := range s.Disks {
		disks[i] = export.Disk{Name: d.Name, Socket: d.Socket, Export: d.Export, Bitmap: d.Bitmap, KnownPart: d.KnownPart, Size: d.Size}
		if d.Known == "" {
			continue
		}
		if disks[i].Known, err = openKnown(d); err != nil {
			return nil, errors.Join(err, closeKnown(disks))
		}
	}
	return disks, nil
}

// openKnown opens the index of what a disk's receiver has.
func openKnown(d spec.ServeDisk) (*blockindex.File, error) {
	f, err := blockindex.Open(d.Known)
	if err != nil {
		return nil, specError(fmt.Errorf("what the receiver has of disk %q: %w", d.Name, err))
	}
	return f, nil
}

func closeKnown(disks []export.Disk) error {
	var errs []error
	for _, d := range disks {
		if d.Known != nil {
			errs = append(errs, d.Known.Close())
		}
	}
	return errors.Join(errs...)
}
