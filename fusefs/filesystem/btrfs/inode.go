package btrfs

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"vmsync/fusefs/filesystem"
)

// inodeItem is an inode as a tree holds it ([format], "INODE_ITEM").
type inodeItem []byte

// Offsets within an inode item.
const (
	inodeGeneration = 0
	inodeSize       = 16
	inodeBytes      = 24
	inodeLinks      = 40
	inodeUID        = 44
	inodeGID        = 48
	inodeMode       = 52
	inodeRdev       = 56
	inodeFlags      = 64
	inodeAtime      = 112
	inodeCtime      = 124
	inodeMtime      = 136
	inodeOtime      = 148
	inodeItemSize   = 160

	inodeNoDataSum = 1 << 0
)

func (i inodeItem) size() uint64  { return le.Uint64(i[inodeSize:]) }
func (i inodeItem) bytes() uint64 { return le.Uint64(i[inodeBytes:]) }
func (i inodeItem) links() uint32 { return le.Uint32(i[inodeLinks:]) }
func (i inodeItem) mode() uint32  { return le.Uint32(i[inodeMode:]) }
func (i inodeItem) kind() uint32  { return i.mode() & unix.S_IFMT }
func (i inodeItem) flags() uint64 { return le.Uint64(i[inodeFlags:]) }

func (i inodeItem) time(off int) time.Time {
	return time.Unix(int64(le.Uint64(i[off:])), int64(le.Uint32(i[off+8:])))
}

// rdev is kept as the kernel has it in memory, 12 bits of major and 20 of minor.
func (i inodeItem) rdev() uint64 {
	switch i.kind() {
	case unix.S_IFCHR, unix.S_IFBLK:
		dev := le.Uint64(i[inodeRdev:])
		return unix.Mkdev(uint32(dev>>20)&0xfff, uint32(dev)&0xfffff)
	}
	return 0
}

// inode returns an inode of a subvolume.
func (t *tree) inode(number uint64) (inodeItem, error) {
	item, ok, err := t.get(key{number, kindInodeItem, 0})
	if err != nil {
		return nil, fmt.Errorf("inode %d of subvolume %d: %w", number, t.id, err)
	}
	if !ok {
		return nil, corrupt("inode %d of subvolume %d is missing", number, t.id)
	}
	if len(item) < inodeItemSize {
		return nil, corrupt("inode %d of subvolume %d: %d bytes", number, t.id, len(item))
	}
	return item, nil
}

// file is what an ID leads to.
func (r *reader) file(id filesystem.ID) (fileRef, *tree, inodeItem, error) {
	f := r.ids.unpack(id)
	t, err := r.subvolume(f.tree)
	if errors.Is(err, filesystem.ErrNotExist) {
		err = corrupt("subvolume %d is missing", f.tree)
	}
	if err != nil {
		return f, nil, nil, err
	}
	item, err := t.inode(f.inode)
	if err != nil {
		return f, nil, nil, err
	}
	if f.stub && item.kind() != unix.S_IFDIR {
		return f, nil, nil, corrupt("inode %d of subvolume %d is no directory", f.inode, f.tree)
	}
	return f, t, item, nil
}

// Stat implements filesystem.FS.
func (r *reader) Stat(id filesystem.ID) (filesystem.Attr, error) {
	f, _, item, err := r.file(id)
	if err != nil {
		return filesystem.Attr{}, err
	}
	a := filesystem.Attr{
		Mode:  item.mode(),
		Links: item.links(),
		UID:   le.Uint32(item[inodeUID:]),
		GID:   le.Uint32(item[inodeGID:]),
		Rdev:  item.rdev(),
		Atime: item.time(inodeAtime),
		Mtime: item.time(inodeMtime),
		Ctime: item.time(inodeCtime),
		Btime: item.time(inodeOtime),
	}
	if f.stub {
		// The kernel makes it up: the owner is that of the directory it lies in, the
		// times are those at which it was first looked at. Here they are the directory's.
		a.Mode, a.Links = unix.S_IFDIR|0o755, 1
		return a, nil
	}
	if item.size() > maxFileSize || item.bytes() > maxFileSize {
		return filesystem.Attr{}, corrupt("inode %d of subvolume %d: size %d", f.inode, f.tree, item.size())
	}
	a.Size = int64(item.size())
	sector := uint64(r.super.sectorSize)
	a.Blocks = int64((item.bytes() + sector - 1) / sector * sector / 512)
	return a, nil
}

// Readlink implements filesystem.FS.
func (r *reader) Readlink(id filesystem.ID) (string, error) {
	f, t, item, err := r.file(id)
	if err != nil {
		return "", err
	}
	if f.stub || item.kind() != unix.S_IFLNK {
		return "", fmt.Errorf("inode %d of subvolume %d: %w", f.inode, f.tree, filesystem.ErrInvalid)
	}
	if item.size() == 0 || item.size() >= unix.PathMax {
		return "", corrupt("inode %d of subvolume %d: a symbolic link of %d bytes", f.inode, f.tree, item.size())
	}
	target := make([]byte, item.size())
	if _, err := newContent(t, f.inode, item).ReadAt(target, 0); err != nil {
		return "", err
	}
	return string(target), nil
}
