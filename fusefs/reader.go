package fusefs

import (
	"sync"

	"vmsync/fusefs/filesystem"
)

// reader is the filesystem of a volume while its state is open. It is opened by
// the first look.
type reader struct {
	volume *foundVolume

	once sync.Once
	fs   filesystem.FS
	err  error
}

// filesystem returns the volume's filesystem, or why it cannot be read.
func (r *reader) filesystem(o opener) (filesystem.FS, error) {
	r.once.Do(func() { r.fs, r.err = o.openFilesystem(r.volume) })
	return r.fs, r.err
}
