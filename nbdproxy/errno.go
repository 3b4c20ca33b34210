package nbdproxy

import (
	"context"
	"errors"

	"golang.org/x/sys/unix"
)

// errnoOf returns what of a backend's error the protocol can say.
func errnoOf(err error) uint32 {
	if errors.Is(err, context.Canceled) {
		return nbdESHUTDOWN
	}
	var errno unix.Errno
	if !errors.As(err, &errno) {
		return nbdEIO
	}
	switch errno {
	case unix.EPERM, unix.EACCES, unix.EROFS:
		return nbdEPERM
	case unix.ENOMEM:
		return nbdENOMEM
	case unix.EINVAL:
		return nbdEINVAL
	case unix.ENOSPC, unix.EDQUOT, unix.EFBIG:
		return nbdENOSPC
	case unix.EOVERFLOW:
		return nbdEOVERFLOW
	case unix.ENOTSUP:
		return nbdENOTSUP
	case unix.ESHUTDOWN:
		return nbdESHUTDOWN
	}
	return nbdEIO
}
