package ntfs

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"unicode/utf16"

	"golang.org/x/sys/unix"

	"vmsync/fusefs/filesystem"
	"vmsync/fusefs/filesystem/fstest"
)

// reparseData is a reparse point of a tag.
func reparseData(tag uint32, data []byte) []byte {
	b := binary.LittleEndian.AppendUint32(nil, tag)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(data)))
	return append(append(b, 0, 0), data...)
}

// windowsLink is the data of a symbolic link or mount point whose names are the same.
func windowsLink(target string, flags ...byte) []byte {
	var raw []byte
	for _, unit := range utf16.Encode([]rune(target)) {
		raw = binary.LittleEndian.AppendUint16(raw, unit)
	}
	n := byte(len(raw))
	b := []byte{0, 0, n, 0, n + 2, 0, n, 0}
	b = append(append(append(b, flags...), raw...), 0, 0)
	return append(append(b, raw...), 0, 0)
}

func TestReparsePoints(t *testing.T) {
	image := fstest.Make(t, 20<<20, "mkfs.ntfs", "-F", "-q", "-Q")
	dir := mount(t, image, mountOptions)
	cases := map[string]struct {
		directory bool
		data      []byte
		target    string
		refused   error
	}{
		"relative": {false, reparseData(tagSymlink, windowsLink(`..\dir\файл`, 1, 0, 0, 0)), "../dir/файл", nil},
		"absolute": {false, reparseData(tagSymlink, windowsLink(`\??\C:\Users`, 0, 0, 0, 0)), "C:/Users", nil},
		"junction": {true, reparseData(tagMountPoint, windowsLink(`\??\C:\Users`)), "C:/Users", nil},
		"wsl":      {false, reparseData(tagLXSymlink, append([]byte{2, 0, 0, 0}, "a/b c"...)), "a/b c", nil},
		"wof":      {false, reparseData(tagWOF, make([]byte, 16)), "", filesystem.ErrUnsupported},
		"dedup":    {false, reparseData(tagDedup, make([]byte, 16)), "", filesystem.ErrUnsupported},
		"cloud":    {false, reparseData(0x9000601a, make([]byte, 16)), "", nil},
		"other":    {false, reparseData(0x80001234, make([]byte, 16)), "", filesystem.ErrUnsupported},
	}
	for name, c := range cases {
		path := filepath.Join(dir, name)
		switch {
		case c.directory:
			must(t, os.Mkdir(path, 0o755))
		case c.target != "":
			write(t, dir, name, nil)
		default:
			write(t, dir, name, []byte("content"))
		}
		must(t, unix.Lsetxattr(path, "system.ntfs_reparse_data", c.data, 0))
	}
	unmount(t, dir, image)
	v := openImage(t, image)
	for name, c := range cases {
		id := find(t, v, name)
		attr, err := v.Stat(id)
		must(t, err)
		if c.target != "" {
			target, err := v.Readlink(id)
			if err != nil || target != c.target || attr.Mode != unix.S_IFLNK|0o777 || attr.Size != int64(len(target)) {
				t.Errorf("%s leads to %q, %v, as %+v", name, target, err, attr)
			}
			continue
		}
		if attr.Mode != unix.S_IFREG|0o777 || attr.Size != 7 {
			t.Errorf("%s is %+v", name, attr)
		}
		if _, err := v.Open(id); !errors.Is(err, c.refused) {
			t.Errorf("%s: opens with %v, want %v", name, err, c.refused)
		}
	}
}

func TestDOSNamesAreFoundButNotListed(t *testing.T) {
	image := fstest.Make(t, 20<<20, "mkfs.ntfs", "-F", "-q", "-Q")
	dir := mount(t, image, mountOptions+",windows_names")
	write(t, dir, "A file with a long name.text", []byte("content"))
	must(t, unix.Setxattr(filepath.Join(dir, "A file with a long name.text"), "system.ntfs_dos_name", []byte("AFILEW~1.TEX"), 0))
	unmount(t, dir, image)
	v := openImage(t, image)
	var names []string
	for e, err := range v.ReadDir(v.Root()) {
		must(t, err)
		names = append(names, e.Name)
	}
	if len(names) != 1 || names[0] != "A file with a long name.text" {
		t.Errorf("names are %q", names)
	}
	long, short := find(t, v, names[0]), find(t, v, "AFILEW~1.TEX")
	if long != short {
		t.Errorf("the names lead to %x and %x", long, short)
	}
	if attr, err := v.Stat(long); err != nil || attr.Links != 1 {
		t.Errorf("it has %d links, %v", attr.Links, err)
	}
}

func TestManyReadersAtOnce(t *testing.T) {
	fstest.NeedRoot(t)
	v := fromMemory(t, small(t))
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() { fstest.Exercise(v) })
	}
	all.Wait()
}
