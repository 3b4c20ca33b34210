package ntfs

import (
	"encoding/binary"
	"fmt"
)

// Restart pages, which begin the log, are at most this large and this far from its begin.
const (
	maxRestartPage = 64 << 10
	noClient       = 0xffff
	restartClean   = 0x0002
)

// A restart is the state of the log as a restart page tells it.
type restart struct {
	lsn   uint64 // of the last change, greater in the newer page
	inUse bool   // a system has the log open
	clean bool   // and had written back everything
}

// logPending says, in words, what keeps a log from being taken for replayed, "" for nothing.
// Windows opens the log when it mounts the filesystem and marks it clean when it unmounts
// it; ntfs-3g fills it with ones.
func logPending(log *stream) (string, error) {
	var last restart
	found, emptied := false, true
	for at := int64(0); at <= maxRestartPage && at+sectorSize <= log.Size(); at = max(sectorSize, at*2) {
		var head [sectorSize]byte
		if _, err := log.read(head[:], at); err != nil {
			return "", err
		}
		switch magic := string(head[:4]); magic {
		case "\xff\xff\xff\xff":
			continue
		case "CHKD":
			// chkdsk has been here; it leaves nothing to replay.
			return "", nil
		case "RSTR":
			emptied = false
			if r, err := readRestart(log, at, head[:]); err == nil && (!found || r.lsn > last.lsn) {
				last, found = r, true
			} else if err != nil && !isCorrupt(err) {
				return "", err
			}
		default:
			emptied = false
		}
	}
	switch {
	case found && last.inUse && !last.clean:
		return "Windows had the filesystem mounted, and its log may hold changes that are not made yet", nil
	case !found && !emptied:
		return "the log has no restart page that can be read", nil
	}
	return "", nil
}

// readRestart reads the restart page at a place of the log.
func readRestart(log *stream, at int64, head []byte) (restart, error) {
	le := binary.LittleEndian
	size := int64(le.Uint32(head[16:]))
	if size < sectorSize || size > maxRestartPage || size%sectorSize != 0 || at+size > log.Size() {
		return restart{}, corrupt("a restart page of %d bytes", size)
	}
	b := make([]byte, size)
	if _, err := log.read(b, at); err != nil {
		return restart{}, err
	}
	if err := fixUp(b, "RSTR"); err != nil {
		return restart{}, fmt.Errorf("the restart page at %d: %w", at, err)
	}
	area, err := part(b, int64(le.Uint16(b[24:])), 48)
	if err != nil {
		return restart{}, err
	}
	return restart{
		lsn:   le.Uint64(area),
		inUse: le.Uint16(area[12:]) != noClient,
		clean: le.Uint16(area[14:])&restartClean != 0,
	}, nil
}
