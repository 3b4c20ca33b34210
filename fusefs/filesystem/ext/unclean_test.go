package ext_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"vmsync/fusefs/filesystem"
	"vmsync/fusefs/filesystem/ext"
	"vmsync/fusefs/filesystem/fstest"
)

// TestUncleanLikeTheKernel copies filesystems while they are written, and holds what
// this package shows of a copy against a mount of it, for which the kernel replays the journal.
func TestUncleanLikeTheKernel(t *testing.T) {
	fstest.NeedRoot(t)
	for _, v := range []struct {
		name, mkfs, mount string
		escapes           bool // contents go through the journal, too
	}{
		{name: "ext3", mkfs: "-t ext3 -b 1024 -J size=1", mount: "data=ordered"},
		{name: "ext3, data in the journal", mkfs: "-t ext3 -J size=4", mount: "data=journal", escapes: true},
		{name: "ext4", mkfs: "-t ext4", mount: "data=ordered"},
		{name: "ext4, small journal", mkfs: "-t ext4 -b 1024 -J size=1", mount: "data=ordered"},
		{name: "ext4, data in the journal", mkfs: "-t ext4 -b 1024 -J size=4", mount: "data=journal", escapes: true},
		{name: "32 bit", mkfs: "-t ext4 -O ^64bit -J size=4", mount: "data=journal", escapes: true},
		{name: "no checksums", mkfs: "-t ext4 -O ^metadata_csum -J size=4", mount: "data=journal", escapes: true},
		{name: "oldest checksums", mkfs: "-t ext4 -O ^metadata_csum -J size=4", mount: "data=journal,journal_checksum", escapes: true},
		{name: "asynchronous commits", mkfs: "-t ext4 -b 1024 -J size=2", mount: "journal_async_commit,data=writeback"},
		{name: "orphan file", mkfs: "-t ext4 -O orphan_file -J size=4", mount: ""},
		{name: "inline data", mkfs: "-t ext4 -O inline_data -J size=4", mount: ""},
	} {
		t.Run(v.name, func(t *testing.T) {
			image := makeImage(t, 48, v.mkfs)
			mount := fstest.Mount(t, image, "noatime,commit=300,"+v.mount)
			churner := &churn{t: t, root: mount, rand: rand.New(rand.NewPCG(7, 7))}
			revokes := false
			for range 3 {
				churner.round()
				copied := fstest.Copy(t, image)
				fsys := open(t, copied)
				if !fsys.Info().Replayed {
					t.Error("the journal was not replayed")
				}
				revokes = revokes || journalHas(t, copied, 5)
				kernels := fstest.Mount(t, copied, "noatime")
				fstest.Compare(t, fsys, kernels, fstest.Ignore{})
				fstest.Unmount(t, kernels)
				os.Remove(copied)
			}
			// Blocks that go through the journal whatever they hold need no revoking.
			if !revokes && !v.escapes {
				t.Error("no block was revoked: that is not tested")
			}
		})
	}
}

// journalHas tells whether the journal holds blocks of a kind.
func journalHas(t *testing.T, image string, kind uint32) bool {
	t.Helper()
	to := filepath.Join(t.TempDir(), "journal")
	fstest.Run(t, "debugfs", "-R", "dump <8> "+to, image)
	b, err := os.ReadFile(to)
	if err != nil {
		t.Fatal(err)
	}
	head := binary.BigEndian.AppendUint32([]byte{0xC0, 0x3B, 0x39, 0x98}, kind)
	for at := 0; at+8 <= len(b); at += 1024 {
		if bytes.Equal(b[at:at+8], head) {
			return true
		}
	}
	return false
}

// churn changes a filesystem in ways that need the journal: names that come and go, blocks of
// directories that become blocks of content, contents that look like the journal's blocks.
type churn struct {
	t      *testing.T
	root   string
	rand   *rand.Rand
	rounds int
}

func (c *churn) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *churn) path(format string, args ...any) string {
	return filepath.Join(c.root, fmt.Sprintf(format, args...))
}

func (c *churn) round() {
	c.rounds++
	for step := range 6 {
		dir := c.path("dir-%d-%d", c.rounds, step)
		c.must(os.Mkdir(dir, 0o755))
		for n := range 120 {
			c.must(os.WriteFile(filepath.Join(dir, fmt.Sprintf("a name that fills blocks %d", n)), c.content(n*17), 0o640))
		}
		c.must(os.Symlink(c.path("%0200d", step), filepath.Join(dir, "link")))
		c.must(unix.Setxattr(dir, "user.step", fmt.Append(nil, step), 0))
		c.sync(dir)
		if step%2 == 0 { // its blocks are free for contents now
			c.must(os.RemoveAll(dir))
		}
		name := c.path("file-%d", step)
		file, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o644)
		c.must(err)
		_, err = file.WriteAt(c.content(200_000), int64(c.rand.IntN(100_000))&^1023)
		c.must(err)
		c.must(file.Truncate(int64(c.rand.IntN(250_000))))
		c.must(file.Sync())
		c.must(file.Close())
		c.must(os.Rename(name, c.path("renamed-%d", c.rand.IntN(20))))
	}
	// Deleted while it is open: an orphan.
	file, err := os.Create(c.path("orphan"))
	c.must(err)
	c.t.Cleanup(func() { file.Close() })
	_, err = file.Write(c.content(50_000))
	c.must(err)
	c.must(os.Remove(file.Name()))
	c.sync(c.root)
	// Not committed: must not be seen, or be seen by both.
	c.must(os.WriteFile(c.path("late-%d", c.rounds), c.content(5000), 0o600))
}

func (c *churn) sync(dir string) {
	c.t.Helper()
	d, err := os.Open(dir)
	c.must(err)
	c.must(d.Sync())
	c.must(d.Close())
}

// content returns bytes of which every block of 1 KiB begins like one of the journal's.
func (c *churn) content(n int) []byte {
	b := make([]byte, n)
	for at := range b {
		b[at] = byte(c.rand.Uint32())
	}
	for at := 0; at+4 <= n; at += 1024 {
		copy(b[at:], []byte{0xC0, 0x3B, 0x39, 0x98})
	}
	return b
}

// TestOrphanIsCut compares files whose truncation had not ended.
func TestOrphanIsCut(t *testing.T) {
	fstest.NeedRoot(t)
	for _, mkfs := range []string{"-t ext4", "-t ext4 -b 1024", "-t ext3 -b 1024", "-t ext2 -b 1024"} {
		for _, size := range []int{0, 1, 12 * 1024, 100_000, 2_000_000, 7_999_999} {
			image := makeImage(t, 32, mkfs)
			mount := fstest.Mount(t, image, "")
			file, err := os.Create(filepath.Join(mount, "file"))
			if err != nil {
				t.Fatal(err)
			}
			for at := int64(0); at < 8_000_000; at += 16384 { // in pieces
				if _, err := file.WriteAt(bytes.Repeat([]byte{byte(at >> 14)}, 5000), at); err != nil {
					t.Fatal(err)
				}
			}
			info, err := file.Stat()
			if err != nil {
				t.Fatal(err)
			}
			file.Close()
			var st unix.Stat_t
			if err := unix.Stat(filepath.Join(mount, "file"), &st); err != nil {
				t.Fatal(err)
			}
			fstest.Unmount(t, mount)
			fstest.Run(t, "debugfs", "-w", "-R", fmt.Sprintf("set_inode_field <%d> size %d", st.Ino, size), image)
			fstest.Run(t, "debugfs", "-w", "-R", fmt.Sprintf("set_super_value last_orphan %d", st.Ino), image)
			fsys := open(t, image)
			attr, err := fsys.Stat(filesystem.ID(st.Ino))
			if err != nil {
				t.Fatal(err)
			}
			mount = fstest.Mount(t, image, "")
			if err := unix.Stat(filepath.Join(mount, "file"), &st); err != nil {
				t.Fatal(err)
			}
			if attr.Size != int64(size) || st.Size != int64(size) || attr.Blocks != st.Blocks {
				t.Errorf("%s: %d bytes cut to %d: %d in %d blocks; the kernel says %d in %d",
					mkfs, info.Size(), size, attr.Size, attr.Blocks, st.Size, st.Blocks)
			}
			fstest.Unmount(t, mount)
			os.Remove(image)
		}
	}
}

// TestExternalJournalIsNeeded must refuse what only another device knows.
func TestExternalJournalIsNeeded(t *testing.T) {
	image := makeImage(t, 16, "-t ext4")
	fstest.Run(t, "debugfs", "-w", "-R", "set_super_value journal_inum 0", image)
	if _, err := ext.Open(fstest.Open(t, image)); err != nil {
		t.Errorf("clean: %v", err)
	}
	fstest.Run(t, "debugfs", "-w", "-R", "feature needs_recovery", image)
	if _, err := ext.Open(fstest.Open(t, image)); !errors.Is(err, filesystem.ErrNeedsReplay) {
		t.Errorf("not clean: %v", err)
	}
}

// TestFastCommitsAreNotSkipped must refuse a filesystem whose newest changes are in fast
// commits, and read it once a full commit has followed them.
func TestFastCommitsAreNotSkipped(t *testing.T) {
	fstest.NeedRoot(t)
	image := makeImage(t, 48, "-t ext4 -O fast_commit")
	mount := fstest.Mount(t, image, "noatime,commit=300")
	c := &churn{t: t, root: mount, rand: rand.New(rand.NewPCG(7, 7))}
	full := func(name string) {
		t.Helper()
		c.must(os.WriteFile(c.path("%s", name), c.content(5000), 0o644))
		d, err := os.Open(mount)
		c.must(err)
		c.must(unix.Syncfs(int(d.Fd())))
		c.must(d.Close())
		copied := fstest.Copy(t, image)
		fsys := open(t, copied)
		kernels := fstest.Mount(t, copied, "noatime")
		fstest.Compare(t, fsys, kernels, fstest.Ignore{})
		fstest.Unmount(t, kernels)
		lookup(t, fsys, name)
	}
	full("first")
	for n := range 5 {
		file, err := os.Create(c.path("fast-%d", n))
		c.must(err)
		_, err = file.Write(c.content(10_000))
		c.must(err)
		c.must(file.Sync())
		c.must(file.Close())
	}
	if _, err := ext.Open(fstest.Open(t, fstest.Copy(t, image))); !errors.Is(err, filesystem.ErrNeedsReplay) {
		t.Errorf("with fast commits: %v", err)
	}
	full("second")
}

// TestNoJournalIsNoted reads an ext2 that is still mounted: nothing can be replayed.
func TestNoJournalIsNoted(t *testing.T) {
	image := makeImage(t, 16, "-t ext2")
	if notes := open(t, image).Info().Notes; notes != nil {
		t.Errorf("clean: %q", notes)
	}
	fstest.Mount(t, image, "")
	info := open(t, fstest.Copy(t, image)).Info()
	if info.Replayed || len(info.Notes) != 1 || !strings.Contains(info.Notes[0], "not unmounted") {
		t.Errorf("mounted: %v %q", info.Replayed, info.Notes)
	}
}
