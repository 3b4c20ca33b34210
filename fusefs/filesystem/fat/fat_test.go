package fat

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"golang.org/x/sys/unix"

	"vmsync/fusefs/device"
	"vmsync/fusefs/filesystem"
	"vmsync/fusefs/filesystem/fstest"
)

func TestShowsWhatMtoolsWrote(t *testing.T) {
	root := tree(t)
	for _, c := range []struct {
		name    string
		size    int64
		options string
		bits    int
		cluster int64
	}{
		{"FAT12", 6 << 20, "-F 12 -s 4 -n label", 12, 2048},
		{"FAT12, clusters of 32k", 64 << 20, "-F 12 -s 64", 12, 32768},
		{"FAT16", 32 << 20, "-F 16 -s 4", 16, 2048},
		{"FAT16, clusters of 512", 16 << 20, "-F 16 -s 1 -f 1", 16, 512},
		{"FAT16, clusters of 64k", 512 << 20, "-F 16 -s 128", 16, 65536},
		{"FAT16, sectors of 4096", 64 << 20, "-F 16 -S 4096 -s 1", 16, 4096},
		{"FAT32", 64 << 20, "-F 32 -s 1", 32, 512},
		{"FAT32, sectors of 4096", 600 << 20, "-F 32 -S 4096 -s 1", 32, 4096},
		{"FAT32, clusters of 64k", 8 << 30, "-F 32 -s 128", 32, 65536},
	} {
		t.Run(c.name, func(t *testing.T) {
			image := format(t, c.size, append(strings.Fields(c.options), "-i", "1234abcd", "-n", "MY LABEL")...)
			copyIn(t, image, root)
			v := openImage(t, image)
			if v.layout.bits != c.bits || v.layout.clusterSize != c.cluster {
				t.Fatalf("read as FAT%d with clusters of %d", v.layout.bits, v.layout.clusterSize)
			}
			compare(t, v, root)
			info := v.Info()
			free, err := v.count()
			if err != nil || free == 0 || info.Free != free {
				t.Errorf("%d clusters are free, %v; info says %d", free, err, info.Free)
			}
			if info.Label != "MY LABEL" || info.UUID != "1234-ABCD" || len(info.Notes) != 0 {
				t.Errorf("info is %+v", info)
			}
		})
	}
}

func TestAttributesAndTimes(t *testing.T) {
	image := format(t, 4<<20, "-F", "12")
	root := t.TempDir()
	write(t, root, "locked.txt", []byte("locked"))
	write(t, root, "dir/sub1/x", []byte("x"))
	write(t, root, "dir/sub2/x", []byte("x"))
	copyIn(t, image, root)
	mtools(t, "mattrib", "-i", image, "+r", "+h", "+s", "::locked.txt")
	v := openImage(t, image)
	attr, err := v.Stat(find(t, v, "locked.txt"))
	if err != nil || attr.Mode != unix.S_IFREG|0o555 {
		t.Errorf("a read-only file has mode %o, %v", attr.Mode, err)
	}
	if !attr.Btime.Equal(stampWritten) {
		t.Errorf("it was created at %v", attr.Btime)
	}
	for path, links := range map[string]uint32{".": 3, "dir": 4, "dir/sub1": 2} {
		attr, err := v.Stat(find(t, v, path))
		if err != nil || attr.Links != links || attr.Mode != unix.S_IFDIR|0o755 {
			t.Errorf("%q has %d links, mode %o, %v", path, attr.Links, attr.Mode, err)
		}
	}
}

func TestStamps(t *testing.T) {
	for _, c := range []struct {
		date, clock uint16
		hundredths  byte
		want        string
	}{
		{0, 0, 0, "1980-01-01T00:00:00Z"},
		{44<<9 | 2<<5 | 29, 12<<11 | 34<<5 | 28, 0, "2024-02-29T12:34:56Z"},
		{44<<9 | 2<<5 | 29, 12<<11 | 34<<5 | 28, 199, "2024-02-29T12:34:57.99Z"},
		{127<<9 | 12<<5 | 31, 23<<11 | 59<<5 | 29, 0, "2107-12-31T23:59:58Z"},
	} {
		if got := stamp(c.date, c.clock, c.hundredths).Format(time.RFC3339Nano); got != c.want {
			t.Errorf("%x %x %d is %s, want %s", c.date, c.clock, c.hundredths, got, c.want)
		}
	}
}

func TestNamesAreFoundRegardlessOfCase(t *testing.T) {
	image := format(t, 4<<20, "-F", "12")
	root := t.TempDir()
	write(t, root, "A long name with Übung.text", []byte("long"))
	write(t, root, "short.txt", []byte("short"))
	copyIn(t, image, root)
	v := openImage(t, image)
	for name, want := range map[string]string{
		"A long name with Übung.text": "long", "a LONG name WITH übung.TEXT": "long", "ALONGN~1.TEX": "long",
		"short.txt": "short", "SHORT.TXT": "short",
	} {
		if got := readAll(t, v, find(t, v, name)); string(got) != want {
			t.Errorf("%q reads %q, want %q", name, got, want)
		}
	}
	if _, err := v.Lookup(rootID, "A long name"); !errors.Is(err, filesystem.ErrNotExist) {
		t.Errorf("half a name is found: %v", err)
	}
	if _, err := v.Lookup(find(t, v, "short.txt"), "x"); !errors.Is(err, filesystem.ErrNotDir) {
		t.Errorf("a file is a directory: %v", err)
	}
	if _, err := v.Open(rootID); !errors.Is(err, filesystem.ErrIsDir) {
		t.Errorf("the root opens: %v", err)
	}
}

// A file in many pieces reads right from anywhere, and the walk along its chain does not
// begin anew for each piece.
func TestFragmentedFile(t *testing.T) {
	image := format(t, 40<<20, "-F", "32", "-s", "1")
	root := t.TempDir()
	var names []string
	for i := range 300 {
		name := fmt.Sprintf("f%03d", i)
		write(t, root, name, random(1, 20<<10))
		if i%2 == 0 {
			names = append(names, "::"+name)
		}
	}
	copyIn(t, image, root)
	mtools(t, append([]string{"mdel", "-i", image}, names...)...)
	// Another file takes the room at the end, so that only the gaps are left.
	filler := t.TempDir()
	write(t, filler, "filler", random(2, 35_090_000))
	copyIn(t, image, filler)
	big := t.TempDir()
	content := random(3, 2900<<10)
	write(t, big, "big", content)
	copyIn(t, image, big)
	v := openImage(t, image)
	id := find(t, v, "big")
	if got := readAll(t, v, id); !bytes.Equal(got, content) {
		t.Fatal("the file has other bytes")
	}
	file, err := v.Open(id)
	if err != nil {
		t.Fatal(err)
	}
	if _, count, err := file.(*openFile).chain.extent(0, 5800); err != nil || count > 200 {
		t.Fatalf("the file begins with %d clusters in one piece, %v: it is not fragmented", count, err)
	}
	source := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		off := source.IntN(len(content))
		p := make([]byte, min(1+source.IntN(20000), len(content)-off))
		if _, err := file.ReadAt(p, int64(off)); err != nil || !bytes.Equal(p, content[off:off+len(p)]) {
			t.Fatalf("%d bytes at %d are others: %v", len(p), off, err)
		}
	}
}

// longRecords are the parts of a long name for an entry, as they lie in a directory.
func longRecords(name string, r *record) []record {
	units := utf16.Encode([]rune(name))
	var parts []record
	for ordinal := (len(units) + unitsPerPart - 1) / unitsPerPart; ordinal > 0; ordinal-- {
		part := record{0: byte(ordinal), 11: attrLong, 13: r.checksum()}
		if len(parts) == 0 {
			part[0] |= 0x40
		}
		for i := range unitsPerPart {
			unit := uint16(0xffff)
			if at := (ordinal-1)*unitsPerPart + i; at < len(units) {
				unit = units[at]
			} else if at == len(units) {
				unit = 0
			}
			binary.LittleEndian.PutUint16(part[[]int{1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30}[i]:], unit)
		}
		parts = append(parts, part)
	}
	return parts
}

func TestLongestName(t *testing.T) {
	want := strings.Repeat("世", 253) + "🐧"
	r := record([]byte("SHORT   TXT" + strings.Repeat("\x00", 21)))
	var long longName
	for _, part := range longRecords(want, &r) {
		long.add(&part)
	}
	if name, found := long.name(&r); name != want || !found {
		t.Errorf("the name is %q, %v", name, found)
	}
	r[0]++
	if name, found := long.name(&r); found {
		t.Errorf("%q is the name of another entry", name)
	}
}

// mtools write no characters beyond 16 bits, so the name is written with others and changed.
func TestNamesBeyond16Bits(t *testing.T) {
	image := format(t, 4<<20, "-F", "12")
	root := t.TempDir()
	write(t, root, "a \ue000\ue001 b \ue000 c.text", []byte("penguin"))
	copyIn(t, image, root)
	content, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	content = bytes.ReplaceAll(content, []byte{0, 0xe0}, []byte{0x3d, 0xd8})
	content = bytes.ReplaceAll(content, []byte{1, 0xe0}, []byte{0x27, 0xdc})
	fsys, err := Open(device.OfReaderAt(bytes.NewReader(content), int64(len(content))))
	if err != nil {
		t.Fatal(err)
	}
	v := fsys.(*volume)
	if got := readAll(t, v, find(t, v, "a 🐧 b \xed\xa0\xbd c.text")); string(got) != "penguin" {
		t.Errorf("the file reads %q", got)
	}
}

func TestUncleanFilesystemIsNoted(t *testing.T) {
	for _, bits := range []string{"12", "16", "32"} {
		size := map[string]int64{"12": 4 << 20, "16": 32 << 20, "32": 64 << 20}[bits]
		image := format(t, size, "-F", bits)
		at := map[string]int64{"12": 37, "16": 37, "32": 65}[bits]
		patched := patch(t, image, at, 1)
		fsys, err := Open(patched)
		if err != nil {
			t.Fatal(err)
		}
		if notes := fsys.Info().Notes; len(notes) != 1 || !strings.Contains(notes[0], "not unmounted cleanly") {
			t.Errorf("FAT%s: notes are %q", bits, notes)
		}
	}
}

// patch returns the image in memory with bytes changed.
func patch(t testing.TB, image string, at int64, with ...byte) device.Device {
	t.Helper()
	content, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	copy(content[at:], with)
	return device.OfReaderAt(bytes.NewReader(content), int64(len(content)))
}

func TestBackupBootSector(t *testing.T) {
	image := format(t, 64<<20, "-F", "32")
	root := t.TempDir()
	write(t, root, "file", []byte("content"))
	copyIn(t, image, root)
	fsys, err := Open(patch(t, image, 11, 0, 0, 0))
	if err != nil {
		t.Fatal(err)
	}
	v := fsys.(*volume)
	if got := readAll(t, v, find(t, v, "file")); string(got) != "content" {
		t.Errorf("the file reads %q", got)
	}
	if notes := v.Info().Notes; len(notes) != 1 || !strings.Contains(notes[0], "boot sector") {
		t.Errorf("notes are %q", notes)
	}
}

func TestWhatIsNotFatIsUnknown(t *testing.T) {
	for name, mkfs := range map[string][]string{
		"nothing": {"true"}, "ext4": {"mkfs.ext4", "-q"}, "exfat": {"mkfs.exfat"}, "ntfs": {"mkfs.ntfs", "-F", "-q"}, "partitions": {"sgdisk", "-o"},
	} {
		if _, err := exec.LookPath(mkfs[0]); err != nil {
			continue
		}
		image := filepath.Join(t.TempDir(), "image")
		fstest.Run(t, "truncate", "-s", "16M", image)
		fstest.Run(t, append(mkfs, image)...)
		if _, err := Open(fstest.Open(t, image)); !errors.Is(err, filesystem.ErrUnknown) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
