package guest

import (
	"bufio"
	"fmt"
	"io"
	"path"
)

// archive writes a cpio archive in the "newc" format that the kernel unpacks as
// its initramfs. See the kernel's
// Documentation/driver-api/early-userspace/buffer-format.rst. The first error
// sticks and is returned by close.
type archive struct {
	w    *bufio.Writer
	err  error
	ino  int
	seen map[string]bool
}

func newArchive(w io.Writer) *archive {
	return &archive{w: bufio.NewWriter(w), seen: map[string]bool{}}
}

const (
	typeDir  = 0o040000
	typeFile = 0o100000
	typeLink = 0o120000
	typeChar = 0o020000
)

func (a *archive) dir(name string) {
	if name == "." || a.seen[name] {
		return
	}
	a.entry(name, typeDir|0o755, nil, 0, 0)
}

func (a *archive) file(name string, mode int, data []byte) { a.entry(name, typeFile|mode, data, 0, 0) }
func (a *archive) link(name, target string)                { a.entry(name, typeLink|0o777, []byte("/"+target), 0, 0) }
func (a *archive) node(name string, major, minor int) {
	a.entry(name, typeChar|0o600, nil, major, minor)
}

// has says whether name is in the archive.
func (a *archive) has(name string) bool { return a.seen[name] }

func (a *archive) entry(name string, mode int, data []byte, major, minor int) {
	if a.err != nil || a.seen[name] {
		return
	}
	a.seen[name] = true
	if parent := path.Dir(name); name != trailer {
		a.dir(parent)
	}
	a.ino++
	_, a.err = fmt.Fprintf(a.w, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X",
		a.ino, mode, 0, 0, 1, 0, len(data), 0, 0, major, minor, len(name)+1, 0)
	a.put([]byte(name+"\x00"), 110+len(name)+1)
	a.put(data, len(data))
}

// put writes b and pads with zeros as if total bytes had been written, to a
// multiple of four.
func (a *archive) put(b []byte, total int) {
	if a.err == nil {
		_, a.err = a.w.Write(b)
	}
	if a.err == nil {
		_, a.err = a.w.Write(make([]byte, (4-total%4)%4))
	}
}

const trailer = "TRAILER!!!"

func (a *archive) close() error {
	a.entry(trailer, 0, nil, 0, 0)
	if a.err != nil {
		return fmt.Errorf("write initramfs: %w", a.err)
	}
	return a.w.Flush()
}
