package target

import (
	"fmt"

	"github.com/dustin/go-humanize"
	"golang.org/x/sys/unix"

	"vmsync/replicator"
)

// spare is how many bytes vmsync leaves free of a file system of some size: one in twenty, a
// GiB at most. Where states take the last byte, nothing could be deleted any more: that, too,
// has to be written down first, and what lies over a state that goes is merged into it.
func spare(size int64) int64 { return min(size/20, 1<<30) }

// leaveRoom fails where less is free in the store than is to stay so.
func (t *Target) leaveRoom(op string) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(t.folder.Dir(), &fs); err != nil {
		return t.storeError("look how much is free", "", err)
	}
	avail, stays := int64(fs.Bavail)*fs.Frsize, spare(int64(fs.Blocks)*fs.Frsize)
	if avail >= stays {
		return nil
	}
	return t.fail(replicator.KindNoSpace, op, "", t.freeSpaceHint(), fmt.Errorf("%s are free, and vmsync leaves %s, or no state could be deleted any more",
		humanize.IBytes(uint64(avail)), humanize.IBytes(uint64(stays))))
}
