// Package probe tells what a device holds, in the words of libblkid: a filesystem, swap
// space, or a member of something larger.
//
// It reads a few superblocks and nothing else. It must never take a device for something
// on the strength of a short signature alone: what else the superblock says has to make
// sense too. It does not look for partition tables.
package probe

import (
	"errors"
	"fmt"
	"io"

	"vmsync/fusefs/device"
)

// Kinds that callers decide on. Kind returns others as well, which nothing here reads.
const (
	Ext2        = "ext2"
	Ext3        = "ext3"
	Ext4        = "ext4"
	XFS         = "xfs"
	Btrfs       = "btrfs"
	VFAT        = "vfat"
	ExFAT       = "exfat"
	NTFS        = "ntfs"
	ReFS        = "ReFS"
	ISO9660     = "iso9660"
	UDF         = "udf"
	Swap        = "swap"
	BitLocker   = "BitLocker"
	LUKS        = "crypto_LUKS"
	LVM         = "LVM2_member"
	RAID        = "linux_raid_member"
	SnapshotCOW = "DM_snapshot_cow"
)

// headSize covers each superblock that lies at a device's beginning: the last is that of btrfs.
const headSize = 72 << 10

// Kind names what a device holds as blkid does ("ext4", "vfat", "LVM2_member"), or returns
// "" where it holds nothing that is known, as where it reads as zeros. Where a member's
// superblock lies at its end and a filesystem's at its beginning, as with RAID 1, it is a member.
func Kind(d device.Device) (string, error) {
	head := make([]byte, min(headSize, d.Size()))
	if _, err := d.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("reading the first %d bytes: %w", len(head), err)
	}
	dev := &contents{head: head}
	raid, err := endOfMember(d)
	if err != nil {
		return "", err
	}
	if raid || isRAID(dev) {
		return RAID, nil
	}
	for _, k := range kinds {
		if name := k(dev); name != "" {
			return name, nil
		}
	}
	return "", nil
}

// contents is a device's beginning.
type contents struct {
	head []byte
}

// at returns n bytes from off on, zeros where the device or its beginning is shorter.
func (c *contents) at(off, n int) []byte {
	if off+n <= len(c.head) {
		return c.head[off : off+n]
	}
	out := make([]byte, n)
	if off < len(c.head) {
		copy(out, c.head[off:])
	}
	return out
}

// is says whether magic is found at off.
func (c *contents) is(off int, magic string) bool { return string(c.at(off, len(magic))) == magic }
