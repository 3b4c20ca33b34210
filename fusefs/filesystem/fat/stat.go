package fat

import (
	"time"

	"golang.org/x/sys/unix"

	"vmsync/fusefs/filesystem"
)

const (
	dirMode      = unix.S_IFDIR | 0o755
	fileMode     = unix.S_IFREG | 0o755
	readOnlyMode = unix.S_IFREG | 0o555
)

// Stat implements filesystem.FS.
func (v *volume) Stat(id filesystem.ID) (filesystem.Attr, error) {
	if id == rootID {
		return v.statDir(id, filesystem.Attr{
			Atime: time.Unix(0, 0), Mtime: time.Unix(0, 0), Ctime: time.Unix(0, 0),
		})
	}
	r, err := v.record(id)
	if err != nil {
		return filesystem.Attr{}, err
	}
	attr := filesystem.Attr{
		Mode: fileMode, Links: 1, Size: int64(r.size()),
		Atime: r.accessed(), Mtime: r.written(), Ctime: r.written(), Btime: r.created(),
	}
	if r.isDir() {
		return v.statDir(id, attr)
	}
	if r[11]&attrReadOnly != 0 {
		attr.Mode = readOnlyMode
	}
	attr.Blocks = v.blocks(attr.Size)
	return attr, nil
}

// statDir adds what only the directory itself tells: its clusters are its size, and its
// directories its links.
func (v *volume) statDir(id filesystem.ID, attr filesystem.Attr) (filesystem.Attr, error) {
	dir, err := v.directory(id)
	if err != nil {
		return filesystem.Attr{}, err
	}
	attr.Mode, attr.Links, attr.Size = dirMode, 2+dir.subdirs, dir.size
	attr.Blocks = v.blocks(dir.size)
	return attr, nil
}

// blocks is how many blocks of 512 bytes the clusters of size bytes are.
func (v *volume) blocks(size int64) int64 {
	cluster := v.layout.clusterSize
	return (size + cluster - 1) / cluster * cluster / 512
}
