package xfs

import (
	"fmt"

	"golang.org/x/sys/unix"

	"vmsync/fusefs/filesystem"
)

// maxTarget is the longest target of a symbolic link, in bytes.
const maxTarget = 1024

// remoteHeader precedes the targets of symbolic links and the values of attributes in
// blocks of their own, in version 5: magic, offset, bytes, checksum, UUID, owner, address, LSN.
const remoteHeader = 56

// Readlink implements filesystem.FS.
func (f *fsys) Readlink(link filesystem.ID) (string, error) {
	i, err := f.inode(link)
	if err != nil {
		return "", err
	}
	if i.kind() != unix.S_IFLNK {
		return "", fmt.Errorf("inode %d: %w", link, filesystem.ErrInvalid)
	}
	if i.size() == 0 || i.size() > maxTarget {
		return "", corrupt("symbolic link %d of %d bytes", link, i.size())
	}
	if i.data.format == formatLocal {
		if i.size() > uint64(len(i.data.raw)) {
			return "", corrupt("symbolic link %d of %d bytes", link, i.size())
		}
		return string(i.data.raw[:i.size()]), nil
	}
	target := make([]byte, 0, i.size())
	for block := uint64(0); uint64(len(target)) < i.size(); {
		e, ok, err := f.find(i, &i.data, block)
		if err != nil {
			return "", err
		}
		const most = 4 // blocks of 512 bytes that hold maxTarget bytes and headers
		if !ok || e.offset != block || e.count == 0 || e.count > most {
			return "", corrupt("the target of symbolic link %d", link)
		}
		if target, err = f.readTarget(i, target, e); err != nil {
			return "", err
		}
		block = e.end()
	}
	return string(target), nil
}

// readTarget adds what an extent holds of a symbolic link's target. In version 5 each
// extent has a header.
func (f *fsys) readTarget(i *inode, target []byte, e extent) ([]byte, error) {
	at, err := f.sb.address(e.block, e.count)
	if err != nil {
		return nil, err
	}
	b := make([]byte, e.count<<f.sb.blockLog)
	if _, err := f.dev.ReadAt(b, at); err != nil {
		return nil, err
	}
	left := int(i.size()) - len(target)
	if !f.sb.v5 {
		return append(target, b[:min(left, len(b))]...), nil
	}
	if string(b[:4]) != "XSLM" || !checksumOK(b, remoteCRC) || be.Uint64(b[32:]) != i.number ||
		be.Uint32(b[4:]) != uint32(len(target)) || be.Uint64(b[40:]) != uint64(at)>>9 {
		return nil, corrupt("the target of symbolic link %d", i.number)
	}
	n := int(be.Uint32(b[8:]))
	if n == 0 || n > left || n > len(b)-remoteHeader {
		return nil, corrupt("the target of symbolic link %d", i.number)
	}
	return append(target, b[remoteHeader:remoteHeader+n]...), nil
}
