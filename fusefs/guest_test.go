package fusefs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"vmsync/fusefs/filesystem"
)

func statx(t testing.TB, path string) unix.Statx_t {
	t.Helper()
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_ALL, &st); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return st
}

func lstat(t testing.TB, path string) *syscall.Stat_t {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Sys().(*syscall.Stat_t)
}

func TestGuestFilesAreAsTheGuestHasThem(t *testing.T) {
	s := mountStore(t, nil)
	body := bytes.Repeat([]byte("0123456789abcdef"), 20000)
	f := s.mem.add(10, 2, "file", unix.S_IFREG|0o4751, body)
	f.UID, f.GID, f.Blocks = 100000, 4000000000, 123
	s.mem.add(10, 2, "hard link", 0, nil)
	s.mem.add(11, 2, "dir", unix.S_IFDIR|0o1777, nil)
	s.mem.add(12, 11, "etc \xff\xfe", unix.S_IFREG|0o600, []byte("inner"))
	l := s.mem.add(13, 2, "link", unix.S_IFLNK|0o777, nil)
	l.target, l.Size = "/etc/passwd", 11
	d := s.mem.add(14, 2, "disk", unix.S_IFBLK|0o660, nil)
	d.Rdev = unix.Mkdev(259, 70000)
	s.mem.add(1<<fileBits|77, 2, "far", unix.S_IFREG|0o644, []byte("far away"))
	s.mem.add(1<<fileBits|10, 2, "farther", unix.S_IFREG|0o644, []byte("farther away"))

	root := s.files(0)
	for _, listed := range []bool{false, true} { // by lookups, and by what the listing told
		st := statx(t, filepath.Join(root, "file"))
		if st.Mode != unix.S_IFREG|0o4751 || st.Nlink != 2 || st.Uid != 100000 || st.Gid != 4000000000 || st.Size != uint64(len(body)) || st.Blocks != 123 {
			t.Errorf("listed %v: file: %+v", listed, st)
		}
		for what, at := range map[string]unix.StatxTimestamp{"mtime": st.Mtime, "atime": st.Atime, "ctime": st.Ctime, "btime": st.Btime} {
			if at.Sec != memTime.Unix() || at.Nsec != uint32(memTime.Nanosecond()) {
				t.Errorf("%s is %v", what, at)
			}
		}
		if a, b := lstat(t, filepath.Join(root, "file")), lstat(t, filepath.Join(root, "hard link")); a.Ino != b.Ino || a.Dev != b.Dev {
			t.Errorf("a hard link is inode %d, its file %d", b.Ino, a.Ino)
		}
		if dev := lstat(t, filepath.Join(root, "disk")); dev.Rdev != unix.Mkdev(259, 70000) || dev.Mode != unix.S_IFBLK|0o660 {
			t.Errorf("device %x, mode %o", dev.Rdev, dev.Mode)
		}
		wantLink(t, filepath.Join(root, "link"), "/etc/passwd")
		wantNames(t, root, "file", "hard link", "dir", "link", "disk", "far", "farther")
	}
	for name, want := range map[string]string{"file": string(body), "dir/etc \xff\xfe": "inner", "far": "far away", "farther": "farther away"} {
		if got, err := os.ReadFile(filepath.Join(root, name)); err != nil || string(got) != want {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
	if _, err := os.Open(filepath.Join(root, "disk")); !errors.Is(err, unix.EACCES) {
		t.Errorf("a guest's device could be opened: %v", err)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(filepath.Join(root, "dir"), &st); err != nil || st.Blocks != 777 || st.Bfree != 333 || st.Bsize != 1024 || st.Files != 99 || st.Ffree != 11 || st.Namelen != 200 {
		t.Errorf("statfs: %+v, %v", st, err)
	}
}

func TestEveryInodeNumberIsOfOneFile(t *testing.T) {
	s := mountStore(t, nil)
	s.mem.add(10, 2, "file", unix.S_IFREG|0o644, nil)
	seen := map[uint64]string{}
	err := filepath.WalkDir(s.root, func(path string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		ino := lstat(t, path).Ino
		if other, twice := seen[ino]; twice {
			t.Errorf("%s and %s are both inode %d", other, path, ino)
		}
		seen[ino] = path
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestXattrs(t *testing.T) {
	s := mountStore(t, nil)
	f := s.mem.add(10, 2, "file", unix.S_IFREG|0o640, []byte("x"))
	acl := []byte{2, 0, 0, 0, 1, 0, 6, 0, 0xff, 0xff, 0xff, 0xff, 2, 0, 4, 0, 0x39, 0x30, 0, 0, 4, 0, 4, 0, 0xff, 0xff, 0xff, 0xff,
		0x10, 0, 4, 0, 0xff, 0xff, 0xff, 0xff, 0x20, 0, 0, 0, 0xff, 0xff, 0xff, 0xff}
	f.xattrs = map[string][]byte{"user.long": bytes.Repeat([]byte{7}, 60000), "user.empty": {}, "trusted.t": []byte("secret"), aclPrefix + "access": acl}
	path := filepath.Join(s.files(0), "file")

	list := make([]byte, 1000)
	n, err := unix.Listxattr(path, list)
	if want := "system.posix_acl_access\x00trusted.t\x00user.empty\x00user.long\x00"; err != nil || string(list[:n]) != want {
		t.Errorf("list: %q, %v", list[:max(n, 0)], err)
	}
	for name, want := range f.xattrs {
		got := make([]byte, 65536)
		n, err := unix.Getxattr(path, name, got)
		if err != nil || !bytes.Equal(got[:n], want) {
			t.Errorf("%s: %d bytes, %v", name, n, err)
		}
		if n, err := unix.Getxattr(path, name, nil); err != nil || n != len(want) {
			t.Errorf("size of %s: %d, %v", name, n, err)
		}
	}
	if _, err := unix.Getxattr(path, "user.long", make([]byte, 100)); !errors.Is(err, unix.ERANGE) {
		t.Errorf("too small a buffer: %v", err)
	}
	if _, err := unix.Listxattr(path, make([]byte, 5)); !errors.Is(err, unix.ERANGE) {
		t.Errorf("too small a buffer for the list: %v", err)
	}
	if _, err := unix.Getxattr(path, "user.none", list); !errors.Is(err, unix.ENODATA) {
		t.Errorf("an attribute that is not there: %v", err)
	}
	for _, other := range []string{s.files(0), filepath.Join(s.dir(0), "state.json")} {
		if n, err := unix.Listxattr(other, list); n != 0 || err != nil {
			t.Errorf("%s has attributes: %d, %v", other, n, err)
		}
		if _, err := unix.Getxattr(other, "user.none", list); !errors.Is(err, unix.ENODATA) {
			t.Errorf("%s: %v", other, err)
		}
	}
}

func TestHolesAreFound(t *testing.T) {
	s := mountStore(t, nil)
	f := s.mem.add(10, 2, "file", unix.S_IFREG|0o644, nil)
	f.content, f.Size = newSparse(), sparseSize
	file, err := os.Open(filepath.Join(s.files(0), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, c := range []struct {
		whence    int
		from, off int64
	}{
		{unix.SEEK_DATA, 0, 128 << 10}, {unix.SEEK_HOLE, 0, 0}, {unix.SEEK_HOLE, 128 << 10, 192 << 10}, {unix.SEEK_DATA, 130 << 10, 130 << 10},
		{unix.SEEK_DATA, 192 << 10, 512 << 10}, {unix.SEEK_HOLE, 520 << 10, 576 << 10}, {unix.SEEK_DATA, 576 << 10, -1}, {unix.SEEK_HOLE, 600 << 10, 600 << 10},
		{unix.SEEK_HOLE, sparseSize, -1},
	} {
		off, err := unix.Seek(int(file.Fd()), c.from, c.whence)
		if c.off < 0 && !errors.Is(err, unix.ENXIO) || c.off >= 0 && (err != nil || off != c.off) {
			t.Errorf("seek %d from %d: %d, %v; want %d", c.whence, c.from, off, err, c.off)
		}
	}
	raw, err := os.Open(filepath.Join(s.dir(0), "disks", "vda.raw"))
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	if hole, err := unix.Seek(int(raw.Fd()), 0, unix.SEEK_HOLE); err != nil || hole < 4096 || hole >= diskSize {
		t.Errorf("the disk's first hole is at %d, %v", hole, err)
	}
	if st := lstat(t, raw.Name()); st.Size != diskSize || st.Blocks < 8 || st.Blocks >= diskSize/512 {
		t.Errorf("the disk has %d bytes in %d blocks", st.Size, st.Blocks)
	}
}

func TestLargeDirectoryIsListedOnceAndWhole(t *testing.T) {
	s := mountStore(t, nil)
	const n = 20000
	var want []string
	for i := range n {
		name := fmt.Sprintf("file-%05d", i)
		want = append(want, name)
		s.mem.add(filesystem.ID(100+i), 2, name, unix.S_IFREG|0o644, nil)
	}
	wantNames(t, s.files(0), want...)
	wantNames(t, s.files(0), want...) // from the kernel's memory
	dir, err := os.Open(s.files(1))
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	first, err := dir.Readdirnames(1000)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dir.Seek(0, 0); err != nil {
		t.Fatal(err)
	}
	again, err := dir.Readdirnames(-1)
	if err != nil || len(again) != n || !slices.Equal(again[:len(first)], first) {
		t.Errorf("%d names after going back, %v", len(again), err)
	}
}

func TestBrokenFileIsAnErrorOfThatFile(t *testing.T) {
	s := mountStore(t, nil)
	s.mem.add(10, 2, "good", unix.S_IFREG|0o644, []byte("good"))
	s.mem.add(11, 2, "dir", unix.S_IFDIR|0o755, nil)
	s.mem.add(12, 11, "bad", unix.S_IFREG|0o644, []byte("bad"))
	s.mem.broken[12] = true
	wantNames(t, filepath.Join(s.files(0), "dir"), "bad")
	for range 3 {
		if _, err := os.Stat(filepath.Join(s.files(0), "dir", "bad")); !errors.Is(err, unix.EIO) {
			t.Errorf("a broken file: %v", err)
		}
	}
	if got, err := os.ReadFile(filepath.Join(s.files(0), "good")); err != nil || string(got) != "good" {
		t.Errorf("%q, %v", got, err)
	}
	log := s.log.String()
	for _, want := range []string{"domain=vm1", "state=" + s.states[0].ID, "volume=vda1", "path=/dir/bad", filesystem.ErrCorrupt.Error()} {
		if !strings.Contains(log, want) {
			t.Errorf("no %q in the log:\n%s", want, log)
		}
	}
	if n := strings.Count(log, "cannot be read"); n != 1 {
		t.Errorf("told %d times:\n%s", n, log)
	}
}

func TestOwnersAndModeAsAskedFor(t *testing.T) {
	uid, gid, mode := uint32(1234), uint32(4321), uint32(0o750)
	s := mountStore(t, func(o *Options, _ *fakeReads) { o.Owners = Owners{&uid, &gid, &mode} })
	f := s.mem.add(10, 2, "file", unix.S_IFREG|0o4600, []byte("x"))
	f.xattrs = map[string][]byte{aclPrefix + "access": {2, 0, 0, 0}}
	s.mem.add(11, 2, "program", unix.S_IFREG|0o100, nil)
	s.mem.add(12, 2, "dir", unix.S_IFDIR, nil)
	for name, want := range map[string]uint32{
		"files/vda1/file": unix.S_IFREG | 0o640, "files/vda1/program": unix.S_IFREG | 0o750, "files/vda1/dir": unix.S_IFDIR | 0o750,
		"disks/vda.raw": unix.S_IFREG | 0o440, "state.json": unix.S_IFREG | 0o440, "disks": unix.S_IFDIR | 0o550,
	} {
		if st := lstat(t, filepath.Join(s.dir(0), name)); st.Mode != want || st.Uid != uid || st.Gid != gid {
			t.Errorf("%s: %d:%d %o, not %d:%d %o", name, st.Uid, st.Gid, st.Mode, uid, gid, want)
		}
	}
	if n, err := unix.Listxattr(filepath.Join(s.files(0), "file"), make([]byte, 100)); n != 0 || err != nil {
		t.Errorf("an ACL that contradicts the mode is shown: %d, %v", n, err)
	}
}

func TestStoresSecretsAreForTheOneWhoMounts(t *testing.T) {
	s := mountStore(t, nil)
	for name, want := range map[string]uint32{"disks/vda.raw": 0o400, "disks/vda/1.mem.raw": 0o400, "domain.xml": 0o400, "state.json": 0o444} {
		if st := lstat(t, filepath.Join(s.dir(0), name)); st.Mode&0o7777 != want || st.Uid != 0 {
			t.Errorf("%s has mode %o", name, st.Mode)
		}
	}
}

func TestOthersAreKeptOutUnlessAllowed(t *testing.T) {
	for _, allowed := range []bool{false, true} {
		s := mountStore(t, func(o *Options, _ *fakeReads) { o.AllowOther = allowed })
		s.mem.add(10, 2, "public", unix.S_IFREG|0o644, []byte("for all"))
		s.mem.add(11, 2, "private", unix.S_IFREG|0o600, []byte("for root"))
		// The folders that a test has are its user's alone.
		for dir := filepath.Dir(s.root); strings.HasPrefix(dir, os.TempDir()+"/"); dir = filepath.Dir(dir) {
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		read := func(path string) error {
			cmd := exec.Command("cat", path)
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
			return cmd.Run()
		}
		if err := read(filepath.Join(s.files(0), "public")); (err == nil) != allowed {
			t.Errorf("allowed %v: reading for all: %v", allowed, err)
		}
		for _, path := range []string{filepath.Join(s.files(0), "private"), filepath.Join(s.dir(0), "disks", "vda.raw"), filepath.Join(s.dir(0), "domain.xml")} {
			if read(path) == nil {
				t.Errorf("allowed %v: nobody could read %s", allowed, path)
			}
		}
	}
}
