package xfs

import (
	"math"
	"time"

	"golang.org/x/sys/unix"

	"vmsync/fusefs/filesystem"
)

// Formats of a fork.
const (
	formatDevice  = 0
	formatLocal   = 1
	formatExtents = 2
	formatTree    = 3
)

// Bits of di_flags and di_flags2.
const (
	flagRealtime  = 1 << 0
	flag2Reflink  = 1 << 1
	flag2BigTime  = 1 << 3
	flag2NrExt64  = 1 << 4
	inodeSizeV2   = 100
	inodeSizeV3   = 176
	inodeMagic    = 0x494e // "IN"
	bigTimeOrigin = -1 << 31
)

// inode is a decoded inode.
type inode struct {
	number   uint64
	attr     filesystem.Attr
	realtime bool
	data     fork
	attrs    fork
}

// fork is where an inode has its content, or its extended attributes: in the inode, in
// a list of extents in the inode, or in a tree whose root is in the inode.
type fork struct {
	format  byte
	raw     []byte // never changed
	extents uint64
}

func (i *inode) kind() uint32 { return i.attr.Mode & unix.S_IFMT }
func (i *inode) isDir() bool  { return i.kind() == unix.S_IFDIR }
func (i *inode) size() uint64 { return uint64(i.attr.Size) }
func (i *inode) forkOf(k kind) *fork {
	if k == kindAttributes {
		return &i.attrs
	}
	return &i.data
}

// Stat implements filesystem.FS.
func (f *fsys) Stat(file filesystem.ID) (filesystem.Attr, error) {
	i, err := f.inode(file)
	if err != nil {
		return filesystem.Attr{}, err
	}
	return i.attr, nil
}

func (f *fsys) inode(id filesystem.ID) (*inode, error) {
	name := key{kind: kindInode, number: uint64(id)}
	if i, ok := f.inodes.get(name); ok {
		return i.(*inode), nil
	}
	block, offset, err := f.sb.inodeAddress(uint64(id))
	if err != nil {
		return nil, err
	}
	b, err := f.block(kindInodeBlock, block, func([]byte, int64) error { return nil })
	if err != nil {
		return nil, err
	}
	i, err := f.sb.parseInode(b[offset:offset+f.sb.inodeSize], uint64(id))
	if err != nil {
		return nil, err
	}
	const overhead = 512
	f.inodes.put(name, i, f.sb.inodeSize+overhead)
	return i, nil
}

// parseInode decodes an inode from b, which it copies what it keeps of.
func (sb *superblock) parseInode(b []byte, number uint64) (*inode, error) {
	version := b[4]
	switch {
	case be.Uint16(b) != inodeMagic:
		return nil, corrupt("there is no inode %d", number)
	case sb.v5 && version != 3, !sb.v5 && version != 1 && version != 2:
		return nil, corrupt("inode %d is of version %d", number, version)
	case sb.v5 && !checksumOK(b, inodeCRC):
		return nil, corrupt("checksum of inode %d", number)
	case sb.v5 && be.Uint64(b[152:]) != number:
		return nil, corrupt("inode %d says that it is %d", number, be.Uint64(b[152:]))
	case be.Uint16(b[2:]) == 0:
		return nil, corrupt("inode %d is not in use", number)
	case int64(be.Uint64(b[56:])) < 0:
		return nil, corrupt("size of inode %d", number)
	case be.Uint64(b[64:]) > sb.maxBlocksOf(b):
		return nil, corrupt("inode %d has %d blocks", number, be.Uint64(b[64:]))
	}
	i := &inode{number: number, realtime: be.Uint16(b[90:])&flagRealtime != 0}
	i.attr = filesystem.Attr{
		Mode: uint32(be.Uint16(b[2:])), Links: be.Uint32(b[16:]),
		UID: be.Uint32(b[8:]), GID: be.Uint32(b[12:]),
		Size:   int64(be.Uint64(b[56:])),
		Blocks: int64(be.Uint64(b[64:]) << (sb.blockLog - 9)),
	}
	if version == 1 {
		i.attr.Links = uint32(be.Uint16(b[6:]))
	}
	bigTime := version == 3 && be.Uint64(b[120:])&flag2BigTime != 0
	i.attr.Atime = timestamp(b[32:], bigTime)
	i.attr.Mtime = timestamp(b[40:], bigTime)
	i.attr.Ctime = timestamp(b[48:], bigTime)
	if version == 3 {
		i.attr.Btime = timestamp(b[144:], bigTime)
	}
	if err := i.forks(b, version); err != nil {
		return nil, err
	}
	if kind := i.kind(); kind == unix.S_IFCHR || kind == unix.S_IFBLK {
		if i.data.format != formatDevice || len(i.data.raw) < 4 {
			return nil, corrupt("device number of inode %d", number)
		}
		device := be.Uint32(i.data.raw)
		i.attr.Rdev = unix.Mkdev(device>>18&0x3fff, device&0x3ffff)
	}
	return i, nil
}

// maxBlocksOf is how many blocks the inode in b may have. Those on a realtime device are not
// the filesystem's, and a file that shares blocks may have the same ones many times.
func (sb *superblock) maxBlocksOf(b []byte) uint64 {
	isFile := be.Uint16(b[2:])&unix.S_IFMT == unix.S_IFREG
	shares := sb.v5 && isFile && be.Uint64(b[120:])&flag2Reflink != 0
	if shares || be.Uint16(b[90:])&flagRealtime != 0 {
		return math.MaxInt64 >> (sb.blockLog - 9)
	}
	return sb.blocks
}

// forks finds the two forks in the rest of the inode.
func (i *inode) forks(b []byte, version byte) error {
	core := inodeSizeV2
	if version == 3 {
		core = inodeSizeV3
	}
	rest := append([]byte(nil), b[core:]...)
	split := int(b[82]) * 8
	if split > len(rest) {
		return corrupt("inode %d has its attributes at %d", i.number, split)
	}
	i.data = fork{format: b[5], raw: rest, extents: uint64(be.Uint32(b[76:]))}
	i.attrs = fork{format: b[83], extents: uint64(be.Uint16(b[80:]))}
	if version == 3 && be.Uint64(b[120:])&flag2NrExt64 != 0 {
		i.data.extents = be.Uint64(b[24:])
		i.attrs.extents = uint64(be.Uint32(b[76:]))
	}
	if split != 0 {
		i.data.raw, i.attrs.raw = rest[:split], rest[split:]
	}
	return nil
}

// timestamp decodes a time: seconds and nanoseconds of 32 bits each, or, of the feature
// bigtime, nanoseconds since December 1901.
func timestamp(b []byte, big bool) time.Time {
	if !big {
		return time.Unix(int64(int32(be.Uint32(b))), int64(be.Uint32(b[4:])))
	}
	ns := be.Uint64(b)
	return time.Unix(int64(ns/1e9)+bigTimeOrigin, int64(ns%1e9))
}
