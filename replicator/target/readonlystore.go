package target

import (
	"fmt"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"vmsync/replicator"
)

// refuseReadOnlyStore fails where the store's file system takes no writes: a run that
// opens the store finds that out by itself.
func (t *Target) refuseReadOnlyStore() error {
	var fs unix.Statfs_t
	if err := unix.Statfs(t.folder.Dir(), &fs); err != nil {
		return t.storeError("open the store", "", err)
	}
	if fs.Flags&unix.ST_RDONLY == 0 {
		return nil
	}
	return t.readOnlyStore(filepath.Dir(t.folder.Dir()))
}

// readOnlyStore is the error of it.
func (t *Target) readOnlyStore(dir string) error {
	return t.fail(replicator.KindStore, "open the store", "",
		"the kernel makes a file system read-only when its disk fails: see dmesg on the target; once it is mounted writable, syncs go on",
		fmt.Errorf("%s is on a %w", dir, syscall.EROFS))
}
