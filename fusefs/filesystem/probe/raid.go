package probe

import (
	"errors"
	"fmt"
	"io"

	"vmsync/fusefs/device"
)

// mdMagic begins each superblock of Linux' software RAID.
const mdMagic = 0xa92b4efc

// isRAID knows members whose superblock (version 1.1 or 1.2) lies at their beginning.
func isRAID(c *contents) bool {
	for _, at := range []int{0, 4096} {
		sb := c.at(at, 256)
		if le.Uint32(sb) == mdMagic && le.Uint32(sb[4:]) == 1 && le.Uint64(sb[144:]) == uint64(at/512) {
			return true
		}
	}
	return false
}

// endOfMember knows members whose superblock lies at their end: version 0.90 in the last
// whole 64 KiB but one, version 1.0 at 8 KiB to 12 KiB from the end.
func endOfMember(d device.Device) (bool, error) {
	size := d.Size()
	old, newer := size&^0xffff-0x10000, (size/512-16)&^7*512
	for _, at := range []int64{old, newer} {
		if at <= 0 {
			continue
		}
		sb := make([]byte, 256)
		if _, err := d.ReadAt(sb, at); err != nil && !errors.Is(err, io.EOF) {
			return false, fmt.Errorf("reading the end: %w", err)
		}
		switch {
		case at == newer && le.Uint32(sb) == mdMagic && le.Uint32(sb[4:]) == 1 && le.Uint64(sb[144:]) == uint64(at/512):
			return true, nil
		// The first version is in the byte order of the machine.
		case at == old && le.Uint32(sb) == mdMagic && le.Uint32(sb[4:]) == 0,
			at == old && be.Uint32(sb) == mdMagic && be.Uint32(sb[4:]) == 0:
			return true, nil
		}
	}
	return false, nil
}
