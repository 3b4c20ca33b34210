package fstest

import (
	"io"

	"golang.org/x/sys/unix"

	"vmsync/fusefs/filesystem"
)

// Exercise reads what a damaged filesystem still shows, up to a bound, for fuzz tests:
// there must be an end, and no panic. Errors are as good as answers.
func Exercise(fsys filesystem.FS) {
	const files, entries, bytes = 200, 2000, 1 << 16
	seen := map[filesystem.ID]bool{}
	todo := []filesystem.ID{fsys.Root()}
	left := entries
	buf := make([]byte, bytes)
	fsys.Info()
	for len(todo) > 0 && len(seen) < files {
		id := todo[0]
		todo = todo[1:]
		if seen[id] {
			continue
		}
		seen[id] = true
		attr, err := fsys.Stat(id)
		fsys.Xattrs(id)
		fsys.Readlink(id)
		if file, openErr := fsys.Open(id); openErr == nil {
			read(file, buf)
		}
		if err != nil || attr.Mode&unix.S_IFMT != unix.S_IFDIR {
			continue
		}
		fsys.Lookup(id, "name")
		for entry, err := range fsys.ReadDir(id) {
			if err != nil || left == 0 {
				break
			}
			left--
			fsys.Lookup(id, entry.Name)
			todo = append(todo, entry.ID)
		}
	}
}

func read(file filesystem.File, buf []byte) {
	size := file.Size()
	for _, off := range []int64{0, size / 2, size - int64(len(buf)), size - 1, size} {
		if off >= 0 {
			if n, err := file.ReadAt(buf, off); n < len(buf) && err == nil {
				panic(io.ErrShortWrite)
			}
		}
	}
	for off, n := int64(0), 0; off < size && n < 100; n++ {
		start, end, err := file.Data(off)
		if err != nil {
			return
		}
		if start < off || end < start || end > size || (start == end && end != size) {
			panic("Data went astray")
		}
		off = end
	}
}
