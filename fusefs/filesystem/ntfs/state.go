package ntfs

import (
	"encoding/binary"
	"errors"
	"fmt"

	"vmsync/fusefs/filesystem"
)

// flagDirty is set in the volume's information while it is to be checked.
const flagDirty = 0x0001

// checkState tells what is wrong with how the filesystem was left, as notes, or as an error
// where what it shows might be stale.
func (v *volume) checkState() ([]string, error) {
	log, err := v.metastream(recordLogFile)
	if err != nil {
		return nil, fmt.Errorf("$LogFile: %w", err)
	}
	pending, err := logPending(log)
	if err != nil {
		return nil, fmt.Errorf("$LogFile: %w", err)
	}
	if pending != "" {
		return nil, fmt.Errorf("%s: %w", pending, filesystem.ErrNeedsReplay)
	}
	r, err := v.record(recordVolume)
	if err != nil {
		return nil, err
	}
	var notes []string
	err = v.each(r, func(a *attribute) bool {
		if len(a.value) < 12 {
			return false
		}
		if binary.LittleEndian.Uint16(a.value[10:])&flagDirty != 0 {
			notes = append(notes, "The filesystem is marked as dirty: Windows will check it at its next start.")
		}
		return false
	}, typeVolume)
	return notes, err
}

// hibernated is a note where Windows was not shut down, but put its memory into a file.
func (v *volume) hibernated() string {
	id, err := v.Lookup(v.root, "hiberfil.sys")
	if err != nil {
		return ""
	}
	file, err := v.Open(id)
	if err != nil {
		return ""
	}
	var magic [4]byte
	if _, err := file.ReadAt(magic[:], 0); err != nil {
		return ""
	}
	switch string(magic[:]) {
	case "hibr", "HIBR":
		return "Windows is hibernated (hiberfil.sys): what it had in memory alone is missing."
	}
	return ""
}

// isCorrupt is for what is an answer about the log, not about the device.
func isCorrupt(err error) bool { return errors.Is(err, filesystem.ErrCorrupt) }
