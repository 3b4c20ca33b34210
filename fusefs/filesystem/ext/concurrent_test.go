package ext_test

import (
	"bytes"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// TestManyGoroutines reads the same files from many goroutines: their parts of a file
// share its place in the map, and all share the caches.
func TestManyGoroutines(t *testing.T) {
	source := smallTree(t)
	for n := range 100 {
		if err := os.WriteFile(filepath.Join(source, "dir", name(n)), bytes.Repeat([]byte{byte(n)}, 5000*n), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	fsys := open(t, fromTree(t, source, "64M", "-t ext4 -b 1024"))
	dir := lookup(t, fsys, "dir")
	var wait sync.WaitGroup
	for worker := range 8 {
		wait.Go(func() {
			for k := range 100 {
				n := (k*7 + worker*13) % 100
				id, err := fsys.Lookup(dir, name(n))
				if err != nil {
					t.Error(err)
					return
				}
				file, err := fsys.Open(id)
				if err != nil {
					t.Error(err)
					return
				}
				var parts sync.WaitGroup
				for at := int64(0); at < file.Size(); at += 100_000 {
					parts.Go(func() {
						b := make([]byte, min(100_000, file.Size()-at))
						if _, err := file.ReadAt(b, at); err != nil || !bytes.Equal(b, bytes.Repeat([]byte{byte(n)}, len(b))) {
							t.Errorf("file %d at %d: %v", n, at, err)
						}
					})
				}
				parts.Wait()
				if _, err := fsys.Stat(id); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
}
