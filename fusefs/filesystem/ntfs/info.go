package ntfs

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"vmsync/fusefs/filesystem"
	"vmsync/fusefs/filesystem/internal/utf16le"
)

func (v *volume) describe(notes []string) filesystem.Info {
	info := filesystem.Info{
		Type:      "ntfs",
		UUID:      fmt.Sprintf("%016X", v.layout.serial),
		Label:     v.label(),
		BlockSize: v.layout.clusterSize,
		Blocks:    uint64(v.layout.clusters),
		NameMax:   maxUnits * 3,
		Notes:     notes,
	}
	var err error
	if info.Free, err = v.free(); err != nil {
		info.Notes = append(info.Notes, fmt.Sprintf("How much is free is not known: %v.", err))
	}
	return info
}

func (v *volume) label() string {
	r, err := v.record(recordVolume)
	if err != nil {
		return ""
	}
	var label string
	if v.each(r, func(a *attribute) bool {
		label = utf16le.DecodeText(a.value)
		return false
	}, typeVolumeName) != nil {
		return ""
	}
	return label
}

// free counts the clusters that $Bitmap has no bit set for.
func (v *volume) free() (uint64, error) {
	s, err := v.metastream(recordBitmap)
	if err != nil {
		return 0, err
	}
	// However many there are said to be, only those of the device are counted.
	clusters := min(v.layout.clusters, v.dev.Size()/v.layout.clusterSize)
	length := min((clusters+7)/8, s.Size())
	free, buf := clusters, make([]byte, 64<<10)
	for off := int64(0); off < length; {
		b := buf[:min(int64(len(buf)), length-off)]
		if _, err := s.read(b, off); err != nil {
			return 0, err
		}
		off += int64(len(b))
		if off == length && clusters%8 != 0 {
			// Behind the last cluster all bits are set.
			b[len(b)-1] &= 1<<(clusters%8) - 1
		}
		for ; len(b) >= 8; b = b[8:] {
			free -= int64(bits.OnesCount64(binary.LittleEndian.Uint64(b)))
		}
		for _, eight := range b {
			free -= int64(bits.OnesCount8(eight))
		}
	}
	return uint64(max(free, 0)), nil
}
