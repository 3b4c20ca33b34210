// Package volume finds what lies on a machine's disks: partitions, mirrors of Linux'
// software RAID, LVM's logical volumes, and what LUKS encrypted, in whatever order they
// lie on each other, down to what holds a filesystem.
//
// It must never show other bytes of a volume than the guest's kernel would: what it cannot
// be sure of it lists with an error. What lies on one disk must never keep another from
// being read.
package volume

import (
	"vmsync/fusefs/device"
	"vmsync/fusefs/volume/luks"
)

// ErrLocked: a volume is encrypted, and no key that was given opens it.
var ErrLocked = luks.ErrLocked

// Disk is one of a machine's disks.
type Disk struct {
	Name   string // "vda"; not empty, and no other disk's
	Device device.Device
}

// Keys are what may open encrypted volumes: passphrases and the content of key files, each
// as it is. A line end that is not part of a passphrase has to be cut off before.
type Keys [][]byte

// Volume is a part of the disks that holds something of its own.
type Volume struct {
	// Name is "vda1" for a partition, "vda" for a whole disk, "group-volume" for a logical
	// volume (with device-mapper's doubling of dashes), "md-name" for a mirror. It is fit for
	// the name of a file, and no other volume's.
	Name   string
	Disk   string // of a partition or a whole disk: its disk or mirror; otherwise ""
	Number int    // of a partition, otherwise 0

	// Kind is what the volume holds, in the words of package probe, "" where that is nothing
	// known. Of an encrypted volume that a key opened it is what was encrypted.
	Kind      string
	Encrypted bool // a key opened it

	Label    string // the name of a GPT partition
	UUID     string // of the partition, the mirror or the logical volume itself
	TypeName string // of a partition: what its table says it is for

	Device device.Device // decrypted where a key opened it; nil where Err is not
	Err    error         // why it cannot be read
}
