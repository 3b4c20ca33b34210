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

// room tells how much is free in the store, and how much is to stay so, in bytes.
func (t *Target) room() (avail, stays int64, err error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(t.folder.Dir(), &fs); err != nil {
		return 0, 0, t.storeError("look how much is free", "", err)
	}
	return int64(fs.Bavail) * fs.Frsize, spare(int64(fs.Blocks) * fs.Frsize), nil
}

// leaveRoom fails where less is free in the store than is to stay so.
func (t *Target) leaveRoom(op string) error {
	avail, stays, err := t.room()
	if err != nil || avail >= stays {
		return err
	}
	return t.fail(replicator.KindNoSpace, op, "", t.freeSpaceHint(), fmt.Errorf("%s are free, and vmsync leaves %s, or no state could be deleted any more",
		humanize.IBytes(uint64(avail)), humanize.IBytes(uint64(stays))))
}

// roomy tells whether what a run leaves for the next one takes none of the room that is to
// stay free.
func (t *Target) roomy() bool {
	avail, stays, err := t.room()
	return err == nil && avail >= stays
}
