package fusefs

import (
	"bytes"
	"io"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"vmsync/fusefs/device"
)

// content is what an open file reads as: a device.Device or a filesystem.File. Its
// io.Closer, if it has one, is called when nobody has the file open any more.
type content interface {
	ReadAt(p []byte, off int64) (int, error)
	Size() int64
	Data(off int64) (start, end int64, err error)
}

func bytesContent(b []byte) content { return device.OfReaderAt(bytes.NewReader(b), int64(len(b))) }

// counted keeps the session open until the content is closed. The caller holds the
// session.
func (s *session) counted(c content) content {
	s.handles.Add(1)
	return &countedContent{content: c, done: sync.OnceFunc(s.letGo)}
}

// letGo ends what was counted in handles.
func (s *session) letGo() {
	s.used.Store(time.Now().UnixNano())
	s.handles.Add(-1)
}

type countedContent struct {
	content
	done func()
}

func (c *countedContent) Close() error { c.done(); return nil }

func closeContent(c content) {
	if closer, ok := c.(io.Closer); ok {
		_ = closer.Close() // nothing was written
	}
}

// seek answers lseek(2) for SEEK_DATA and SEEK_HOLE.
func seek(c content, off int64, whence uint32) (int64, error) {
	size := c.Size()
	if off < 0 || off >= size {
		return 0, unix.ENXIO
	}
	switch whence {
	case unix.SEEK_DATA:
		start, _, err := c.Data(off)
		if err == nil && start >= size {
			return 0, unix.ENXIO
		}
		return start, err
	case unix.SEEK_HOLE:
		return holeAfter(c, off, time.Now().Add(tellFor))
	}
	return 0, unix.EINVAL
}

// tellFor bounds how long it may take to find out where data is: a guest can describe a volume
// in pieces without number.
const tellFor = 10 * time.Second

// holeAfter returns where the first hole begins at or after off. The end, which is one as well, is
// the answer where none was found in time.
func holeAfter(c content, off int64, until time.Time) (int64, error) {
	size := c.Size()
	for off < size && time.Now().Before(until) {
		start, end, err := c.Data(off) // it may tell of one range in parts
		if err != nil {
			return 0, err
		}
		if start > off || end <= off {
			return off, nil
		}
		off = end
	}
	return size, nil
}
