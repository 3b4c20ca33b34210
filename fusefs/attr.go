package fusefs

import (
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"vmsync/fusefs/filesystem"
)

// How long the kernel may go by what it was told without asking again. What is in
// a state never changes; which states there are does.
const (
	briefly = time.Second
	forever = 365 * 24 * time.Hour
)

// blockSize is what stat(2) tells as the size for good reads.
const blockSize = 4096

// fill translates a file's attributes for the kernel.
func fill(to *fuse.Attr, ino uint64, a *filesystem.Attr) {
	*to = fuse.Attr{
		Ino:  ino,
		Size: uint64(a.Size), Blocks: uint64(a.Blocks),
		Mode: a.Mode, Nlink: a.Links, Owner: fuse.Owner{Uid: a.UID, Gid: a.GID},
		Rdev: shortDevice(a.Rdev), Blksize: blockSize,
	}
	to.Atime, to.Atimensec = seconds(a.Atime)
	to.Mtime, to.Mtimensec = seconds(a.Mtime)
	to.Ctime, to.Ctimensec = seconds(a.Ctime)
}

// fillEntry answers a lookup.
func fillEntry(to *fuse.EntryOut, node uint64, a *filesystem.Attr, valid time.Duration) {
	to.NodeId = node
	to.SetEntryTimeout(valid)
	to.SetAttrTimeout(valid)
	fill(&to.Attr, node, a)
}

// fillStatx is fill for statx(2), which also asks for the time of birth.
func fillStatx(to *fuse.Statx, ino uint64, a *filesystem.Attr) {
	to.Mask = unix.STATX_BASIC_STATS
	to.Blksize = blockSize
	to.Nlink, to.Uid, to.Gid, to.Mode = a.Links, a.UID, a.GID, uint16(a.Mode)
	to.Ino, to.Size, to.Blocks = ino, uint64(a.Size), uint64(a.Blocks)
	to.Atime, to.Mtime, to.Ctime = statxTime(a.Atime), statxTime(a.Mtime), statxTime(a.Ctime)
	if !a.Btime.IsZero() {
		to.Mask |= unix.STATX_BTIME
		to.Btime = statxTime(a.Btime)
	}
	to.RdevMajor, to.RdevMinor = unix.Major(a.Rdev), unix.Minor(a.Rdev)
}

// seconds splits a time as the protocol does: a time before 1970 has negative seconds,
// in two's complement, and nanoseconds that count forward from them.
func seconds(t time.Time) (uint64, uint32) { return uint64(t.Unix()), uint32(t.Nanosecond()) }

func statxTime(t time.Time) fuse.SxTime {
	return fuse.SxTime{Sec: uint64(t.Unix()), Nsec: uint32(t.Nanosecond())}
}

// shortDevice gives a device number in the 32 bits that the protocol has for it: 12 of
// the major number and 20 of the minor one, as the kernel's new_encode_dev does.
func shortDevice(dev uint64) uint32 {
	major, minor := unix.Major(dev), unix.Minor(dev)
	return minor&0xff | major<<8 | minor&^0xff<<12
}
