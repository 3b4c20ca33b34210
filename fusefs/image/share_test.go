package image

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// settle waits until files that were written may be shared.
func settle() { time.Sleep(settled + 100*time.Millisecond) }

func descriptors(t *testing.T, dir string) int {
	t.Helper()
	links, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, link := range links {
		if to, err := os.Readlink(link); err == nil && filepath.Dir(to) == dir {
			n++
		}
	}
	return n
}

func TestImagesShareFilesOfTheirChains(t *testing.T) {
	t.Parallel()
	const size = 4 * mib
	dir := t.TempDir()
	chain(t, dir, 4, size, "", 20)
	tops := []string{}
	for n := range 3 {
		name := fmt.Sprint("top", n)
		tops = append(tops, create(t, dir, name, size, over("3", "qcow2")))
		write(t, tops[n], scatter(uint64(100+n), size, 10)...)
	}
	settle()
	c := NewCache(mib)
	images := []*Image{}
	for _, path := range tops {
		images = append(images, open(t, path, c))
	}
	if files, fds := c.Stats().Files, descriptors(t, dir); files != 7 || fds != 7 {
		t.Errorf("%d files and %d descriptors, want 7 each", files, fds)
	}
	for n, i := range images {
		checkContent(t, i, content(t, tops[n]))
		i.Close()
		if _, err := i.ReadAt(make([]byte, 1), 0); err == nil {
			t.Error("a closed image can be read")
		}
		if err := i.Close(); err == nil {
			t.Error("an image can be closed twice")
		}
	}
	if s, fds := c.Stats(), descriptors(t, dir); s.Bytes != 0 || s.Files != 0 || fds != 0 {
		t.Errorf("after closing all there are %+v and %d descriptors", s, fds)
	}
}

func TestFilesThatChangedLatelyAreNotShared(t *testing.T) {
	t.Parallel()
	path := create(t, t.TempDir(), "a", mib, "")
	c := NewCache(mib)
	open(t, path, c)
	if n := c.Stats().Files; n != 0 {
		t.Errorf("%d files offered", n)
	}
	settle()
	open(t, path, c)
	if err := os.Chmod(path, 0o644); err != nil { // changes nothing but the ctime
		t.Fatal(err)
	}
	settle()
	open(t, path, c)
	open(t, path, c)
	if files, fds := c.Stats().Files, descriptors(t, filepath.Dir(path)); files != 2 || fds != 3 {
		t.Errorf("%d files offered, %d open", files, fds)
	}
}

// TestMergeBelowAnOpenImage merges an image into the one below it, which takes its name,
// while chains through both are open, and opens another one afterwards with the same cache.
func TestMergeBelowAnOpenImage(t *testing.T) {
	for name, options := range map[string]string{"clusters of 64 KiB": "", "clusters of 512 bytes": ",cluster_size=512"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const size, grown = 2 * mib, 6 * mib
			dir := t.TempDir()
			chain(t, dir, 2, size, options, 30)
			for k := 2; k < 4; k++ {
				path := create(t, dir, fmt.Sprint(k), grown, over(fmt.Sprint(k-1), "qcow2")+options)
				write(t, path, scatter(uint64(k), grown, 30)...)
			}
			top := filepath.Join(dir, "3")
			want := content(t, top)
			settle()
			c := NewCache(mib)
			touched, untouched := open(t, top, c), open(t, top, c)
			checkContent(t, touched, want)
			got := make([]byte, len(want))

			runIn(t, dir, "qemu-img", "commit", "-q", "-d", "-f", "qcow2", "2")
			checkContent(t, touched, want)
			during := open(t, top, c)
			if err := os.Rename(filepath.Join(dir, "1"), filepath.Join(dir, "2")); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(content(t, top), want) {
				t.Fatal("merging changed what qemu reads")
			}
			after := open(t, top, c)
			for name, i := range map[string]*Image{"read before": touched, "opened before": untouched, "opened meanwhile": during, "opened after": after} {
				if _, err := i.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
					t.Errorf("the image %s reads differently: %v", name, err)
				}
			}
			if len(after.chain) != 3 {
				t.Errorf("%d images", len(after.chain))
			}
			settle()
			checkContent(t, open(t, top, c), want)
		})
	}
}
