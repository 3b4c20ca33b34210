package xfs

import (
	"reflect"
	"sync"
	"testing"

	"vmsync/fusefs/filesystem/fstest"
)

// TestManyReadersAtOnce has several goroutines read everything, with caches that are too
// small for it. With -race it finds what they should not share.
func TestManyReadersAtOnce(t *testing.T) {
	image := fstest.Make(t, imageSize, "mkfs.xfs", "-q")
	dir := fstest.Mount(t, image, "")
	fstest.Populate(t, dir, 2, fstest.Features{Unix: true, Xattrs: true, Entries: 500})
	fstest.Run(t, "xfs_io", "-x", "-c", "shutdown -f", dir)
	fstest.Unmount(t, dir)
	f := mustOpen(t, image).(*fsys)
	f.blocks, f.inodes = newCache(64<<10), newCache(16<<10)
	listings := make([]fstest.Listing, 4)
	var wg sync.WaitGroup
	for n := range listings {
		wg.Go(func() { listings[n] = fstest.ListFS(t, f, fstest.Ignore{}) })
	}
	wg.Wait()
	for n := range listings {
		if len(listings[n]) < 500 || !reflect.DeepEqual(listings[n], listings[0]) {
			t.Errorf("reader %d shows other files than the first one: %d, %d", n, len(listings[n]), len(listings[0]))
		}
	}
}
