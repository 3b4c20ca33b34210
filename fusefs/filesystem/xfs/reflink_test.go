package xfs

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"vmsync/fusefs/filesystem/fstest"
)

// TestFileOfMoreBlocksThanTheFilesystem shares the same blocks many times within a file: each
// time counts as blocks of the file.
func TestFileOfMoreBlocksThanTheFilesystem(t *testing.T) {
	const piece = 64 << 20
	image := fstest.Make(t, imageSize, "mkfs.xfs", "-q", "-m", "reflink=1")
	dir := fstest.Mount(t, image, "")
	path := filepath.Join(dir, "shared")
	must(t, os.WriteFile(path, bytes.Repeat([]byte("shared "), piece/7), 0o644))
	must(t, os.Truncate(path, piece))
	for n := int64(1); n*piece < imageSize+piece; n++ {
		fstest.Run(t, "xfs_io", "-c", fmt.Sprintf("reflink %s 0 %d %d", path, n*piece, piece), path)
	}
	fstest.Unmount(t, dir)
	compare(t, mustOpen(t, image), image)
}
