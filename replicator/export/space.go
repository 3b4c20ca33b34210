package export

import (
	"errors"
	"syscall"

	"vmsync/internal/qemu"
)

// noSpace recognises a full file system, whoever met it.
func noSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, qemu.ErrNoSpace)
}
