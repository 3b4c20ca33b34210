package fusefs

import (
	"errors"
	"io"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// openFile is a file that somebody has open.
type openFile struct {
	content
	at func() failure // for the log
}

func (t *tree) Open(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	if in.Flags&unix.O_ACCMODE != unix.O_RDONLY {
		return fuse.EROFS
	}
	if isGuest(in.NodeId) {
		return t.openGuest(in.NodeId, out)
	}
	n := t.nodes.get(in.NodeId)
	f, ok := n.(file)
	if !ok {
		return fuse.Status(unix.ESTALE)
	}
	c, err := f.open()
	if err != nil {
		return t.status(err, atNode(n))
	}
	out.Fh = t.handles.add(&openFile{c, atNode(n)})
	if n.valid() == forever {
		out.OpenFlags = fuse.FOPEN_KEEP_CACHE | fuse.FOPEN_NOFLUSH
	} else {
		out.OpenFlags = fuse.FOPEN_DIRECT_IO | fuse.FOPEN_NOFLUSH // its size may no longer be what the kernel was told
	}
	return fuse.OK
}

func (t *tree) Read(_ <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	f, ok := t.handles.get(in.Fh).(*openFile)
	if !ok {
		return nil, fuse.EBADF
	}
	n, err := f.ReadAt(buf, int64(in.Offset))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, t.status(err, f.at)
	}
	return fuse.ReadResultData(buf[:n]), fuse.OK
}

func (t *tree) Lseek(_ <-chan struct{}, in *fuse.LseekIn, out *fuse.LseekOut) fuse.Status {
	f, ok := t.handles.get(in.Fh).(*openFile)
	if !ok {
		return fuse.EBADF
	}
	off, err := seek(f, int64(in.Offset), in.Whence)
	if err != nil {
		return t.status(err, f.at)
	}
	out.Offset = uint64(off)
	return fuse.OK
}

func (t *tree) Release(_ <-chan struct{}, in *fuse.ReleaseIn) {
	if f, ok := t.handles.remove(in.Fh).(*openFile); ok {
		closeContent(f.content)
	}
}
