package ntfs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vmsync/fusefs/filesystem"
	"vmsync/fusefs/filesystem/fstest"
)

// mount mounts an image by ntfs-3g until the test ends or unmount is called.
func mount(t testing.TB, image, options string) string {
	t.Helper()
	dir := t.TempDir()
	fstest.Run(t, "ntfs-3g", "-o", options, image, dir)
	t.Cleanup(func() { exec.Command("umount", dir).Run() })
	return dir
}

// unmount returns when ntfs-3g has written everything and ended.
func unmount(t testing.TB, dir, image string) {
	t.Helper()
	fstest.Run(t, "umount", dir)
	for range 500 {
		// ntfs-3g locks the image as long as it runs.
		file, err := os.OpenFile(image, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		lock := unix.Flock_t{Type: unix.F_WRLCK}
		err = unix.FcntlFlock(file.Fd(), unix.F_SETLK, &lock)
		file.Close()
		if err == nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("ntfs-3g does not end")
}

func openImage(t testing.TB, image string) *volume {
	t.Helper()
	fsys, err := Open(fstest.Open(t, image))
	if err != nil {
		t.Fatal(err)
	}
	return fsys.(*volume)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, root, name string, content []byte) {
	t.Helper()
	path := filepath.Join(root, name)
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(t, os.WriteFile(path, content, 0o644))
}

// fill adds what the common population lacks: names, links, device nodes, streams.
func fill(t testing.TB, root string) {
	t.Helper()
	for i, name := range []string{
		strings.Repeat("n", 255), strings.Repeat("世", 85), "Grüße 世界 🐧", "case", "Case", "CASE", "with:colon", `back\slash`,
		" leading", "trailing.", "straße", "STRASSE", "ÿ", "Ÿ", "a", "B", "c",
	} {
		write(t, root, "names/"+name, []byte(fmt.Sprint(i)))
	}
	for _, n := range []int{1, 30, 255, 1000, 4000} {
		must(t, os.Symlink(strings.Repeat("t/", n)[:n], filepath.Join(root, fmt.Sprintf("names/link-%d", n))))
	}
	must(t, os.Symlink("/etc/passwd", filepath.Join(root, "names/absolute 🐧")))
	must(t, unix.Mknod(filepath.Join(root, "names/null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	must(t, unix.Mknod(filepath.Join(root, "names/disk"), unix.S_IFBLK|0o666, int(unix.Mkdev(259, 70000))))
	write(t, root, "links/file", []byte("linked"))
	for i := range 40 {
		must(t, os.Link(filepath.Join(root, "links/file"), filepath.Join(root, fmt.Sprintf("links/a hard link of a long name, number %d", i))))
	}
	for _, year := range []int{1602, 1965, 2024, 2100} {
		name := fmt.Sprintf("times/%d", year)
		write(t, root, name, nil)
		stamp := time.Date(year, 2, 28, 12, 34, 56, 123456700, time.UTC)
		if year < 1970 {
			// ntfs-3g reads fractions of a second before 1970 wrong.
			stamp = stamp.Truncate(time.Second)
		}
		times := []unix.Timespec{{Sec: stamp.Unix()}, {Sec: stamp.Unix(), Nsec: int64(stamp.Nanosecond())}}
		must(t, unix.UtimesNanoAt(unix.AT_FDCWD, filepath.Join(root, name), times, 0))
	}
	for _, n := range []int{0, 5, 700, 5000, 65536} {
		name := fmt.Sprintf("streams/%d", n)
		write(t, root, name, bytes.Repeat([]byte("main"), n))
		must(t, unix.Setxattr(filepath.Join(root, name), "user.stream", bytes.Repeat([]byte{7}, n), 0))
		must(t, unix.Setxattr(filepath.Join(root, name), "user.Ünicode", []byte("x"), 0))
	}
	must(t, unix.Setxattr(filepath.Join(root, "streams"), "user.of a directory", []byte("dir"), 0))
}

// fillCompressed makes files that compress in every way: not at all, partly, to nothing.
func fillCompressed(t testing.TB, root string) {
	t.Helper()
	seed := uint32(1)
	noise := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			seed = seed*1664525 + 1013904223
			b[i] = byte(seed >> 24)
		}
		return b
	}
	text := bytes.Repeat([]byte("The quick brown fox jumps over the lazy dog. "), 8000)
	write(t, root, "compressed/text", text)
	write(t, root, "compressed/noise", noise(300_000))
	write(t, root, "compressed/zeros", make([]byte, 1<<20))
	write(t, root, "compressed/short", text[:5000])
	for _, n := range []int{65535, 65536, 65537, 131072} {
		write(t, root, fmt.Sprintf("compressed/%d", n), text[:n])
	}
	mixed := append(append(append(noise(70_000), text...), make([]byte, 200_000)...), noise(3000)...)
	write(t, root, "compressed/mixed", append(mixed, text[:100_000]...))
	file, err := os.Create(filepath.Join(root, "compressed/sparse"))
	must(t, err)
	defer file.Close()
	for _, at := range []int64{0, 200_000, 1_000_000, 1_500_000} {
		_, err := file.WriteAt(text[:50_000], at)
		must(t, err)
	}
}

const mountOptions = "streams_interface=xattr,no_def_opts,silent"

var ignore = fstest.Ignore{Btime: true, Atime: true}

func TestShowsWhatNtfs3gShows(t *testing.T) {
	fstest.NeedRoot(t)
	for _, c := range []struct {
		cluster    int
		compressed bool
		entries    int
	}{
		{512, true, 400},
		{2048, true, 400},
		{4096, false, 2000},
		{65536, false, 400},
	} {
		t.Run(fmt.Sprintf("clusters of %d", c.cluster), func(t *testing.T) {
			image := fstest.Make(t, 300<<20, "mkfs.ntfs", "-F", "-q", "-Q", "-L", "a labél", "-c", fmt.Sprint(c.cluster))
			dir := mount(t, image, mountOptions+",compression")
			fstest.Populate(t, dir, uint64(c.cluster), fstest.Features{Large: 20 << 20, Entries: c.entries})
			fill(t, dir)
			if c.compressed {
				must(t, os.Mkdir(filepath.Join(dir, "compressed"), 0o755))
				// FILE_ATTRIBUTE_COMPRESSED, which what is made in the directory inherits.
				must(t, unix.Setxattr(filepath.Join(dir, "compressed"), "system.ntfs_attrib", []byte{0x10, 8, 0, 0}, 0))
				fillCompressed(t, dir)
			}
			unmount(t, dir, image)
			v := openImage(t, image)
			ours := fstest.ListFS(t, v, ignore)
			dir = mount(t, image, mountOptions+",ro")
			theirs := fstest.ListMount(t, dir, ignore)
			same(t, ours, theirs)
			info := v.Info()
			var st unix.Statfs_t
			must(t, unix.Statfs(dir, &st))
			if info.Label != "a labél" || info.BlockSize != int64(c.cluster) || info.Free != st.Bfree || len(info.Notes) != 0 {
				t.Errorf("info is %+v; ntfs-3g has %d of %d blocks free", info, st.Bfree, st.Blocks)
			}
			uuid := strings.TrimSpace(fstest.Run(t, "blkid", "-p", "-s", "UUID", "-o", "value", image))
			if info.UUID != uuid {
				t.Errorf("the UUID is %s, blkid says %s", info.UUID, uuid)
			}
		})
	}
}

// same compares listings and shows the first differences.
func same(t testing.TB, ours, theirs fstest.Listing) {
	t.Helper()
	differences := 0
	for path, line := range theirs {
		if ours[path] != line {
			if differences++; differences < 20 {
				t.Errorf("%q is\n%s, ntfs-3g says\n%s", path, ours[path], line)
			}
		}
	}
	for path := range ours {
		if _, found := theirs[path]; !found {
			if differences++; differences < 20 {
				t.Errorf("%q is shown, but ntfs-3g does not show it", path)
			}
		}
	}
	t.Logf("%d files, %d differences", len(ours), differences)
}

func TestCaseIsIgnoredWhereThatIsNeeded(t *testing.T) {
	image := fstest.Make(t, 20<<20, "mkfs.ntfs", "-F", "-q", "-Q")
	dir := mount(t, image, mountOptions)
	for _, name := range []string{"Straße", "two", "TWO", "Ÿ"} {
		write(t, dir, name, []byte(name))
	}
	unmount(t, dir, image)
	v := openImage(t, image)
	for name, want := range map[string]string{"Straße": "Straße", "STRAßE": "Straße", "two": "two", "TWO": "TWO", "Two": "TWO", "ÿ": "Ÿ"} {
		id, err := v.Lookup(v.Root(), name)
		if err != nil {
			t.Errorf("lookup of %q: %v", name, err)
			continue
		}
		file, err := v.Open(id)
		must(t, err)
		b := make([]byte, file.Size())
		if _, err := file.ReadAt(b, 0); err != nil || (string(b) != want && !strings.EqualFold(name, "two")) {
			t.Errorf("%q reads %q, %v; want %q", name, b, err, want)
		}
	}
	for _, name := range []string{"", "STRASSE", "$MFT", "$Extend", ".", strings.Repeat("x", 300), "\xff"} {
		if id, err := v.Lookup(v.Root(), name); !errors.Is(err, filesystem.ErrNotExist) {
			t.Errorf("%q is found: %d, %v", name, id, err)
		}
	}
}
