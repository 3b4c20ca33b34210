package ntfs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"vmsync/fusefs/device"
	"vmsync/fusefs/filesystem"
	"vmsync/fusefs/filesystem/fstest"
)

// small makes an image of 2 MiB, whose log is emptied, with files of all kinds.
func small(t testing.TB) []byte {
	image := fstest.Make(t, 2<<20, "mkfs.ntfs", "-F", "-q", "-Q", "-c", "512")
	dir := mount(t, image, mountOptions+",compression")
	for i := range 60 {
		write(t, dir, fmt.Sprintf("dir/a file with a long name, number %d", i), []byte("content"))
	}
	must(t, os.Symlink("target", filepath.Join(dir, "link")))
	must(t, os.Link(filepath.Join(dir, "dir/a file with a long name, number 1"), filepath.Join(dir, "hard")))
	must(t, unix.Setxattr(filepath.Join(dir, "hard"), "user.stream", []byte("stream"), 0))
	must(t, os.Mkdir(filepath.Join(dir, "compressed"), 0o755))
	must(t, unix.Setxattr(filepath.Join(dir, "compressed"), "system.ntfs_attrib", []byte{0x10, 8, 0, 0}, 0))
	write(t, dir, "compressed/file", bytes.Repeat([]byte("compress me, please. "), 2000))
	write(t, dir, "plain", bytes.Repeat([]byte("plain"), 4000))
	fragment(t, dir, 200)
	unmount(t, dir, image)
	content, err := os.ReadFile(image)
	must(t, err)
	return content
}

// fragment writes a file in so many pieces that one record cannot describe them.
func fragment(t testing.TB, dir string, pieces int) {
	t.Helper()
	file, err := os.Create(filepath.Join(dir, "pieces"))
	must(t, err)
	defer file.Close()
	for i := range pieces {
		_, err := file.WriteAt([]byte(fmt.Sprint("piece ", i)), int64(i)*8192)
		must(t, err)
	}
}

func fromMemory(t testing.TB, content []byte) *volume {
	t.Helper()
	fsys, err := Open(device.OfReaderAt(bytes.NewReader(content), int64(len(content))))
	must(t, err)
	return fsys.(*volume)
}

func find(t testing.TB, v *volume, path string) filesystem.ID {
	t.Helper()
	id := v.Root()
	for _, name := range strings.Split(path, "/") {
		var err error
		id, err = v.Lookup(id, name)
		must(t, err)
	}
	return id
}

// place is where a record of $MFT lies in an image.
func place(v *volume, number int64) int64 {
	cluster, off := v.layout.clusterSize, number*v.layout.recordSize
	for _, r := range v.mft.runs {
		if off < (r.vcn+r.length)*cluster {
			return (r.lcn-r.vcn)*cluster + off
		}
	}
	return -1
}

func TestDamagedRecordIsTheErrorOfItsFile(t *testing.T) {
	image := small(t)
	v := fromMemory(t, image)
	id := find(t, v, "plain")
	at := place(v, int64(reference(id).number()))
	for name, damage := range map[string]func([]byte){
		"magic":           func(b []byte) { b[0] = 'B' },
		"update sequence": func(b []byte) { b[510]++ },
		"not in use":      func(b []byte) { b[22] = 0 },
		"another file's":  func(b []byte) { b[16]++ },
		"attributes":      func(b []byte) { binary.LittleEndian.PutUint32(b[60:], 0x7fffffff) },
		"size in use":     func(b []byte) { binary.LittleEndian.PutUint32(b[24:], 0xffffffff) },
	} {
		damaged := bytes.Clone(image)
		damage(damaged[at:])
		v := fromMemory(t, damaged)
		if _, err := v.Stat(id); !errors.Is(err, filesystem.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := v.Stat(find(t, v, "link")); err != nil {
			t.Errorf("%s: another file: %v", name, err)
		}
	}
}

func TestDirectoryWhoseBlocksAreACycle(t *testing.T) {
	image := small(t)
	v := fromMemory(t, image)
	dir, err := v.directory(find(t, v, "dir"))
	must(t, err)
	// All entries of all blocks get the root's child as theirs.
	root := int64(noChild)
	must(t, eachEntry(dir.root, func(e *indexEntry) bool { root = e.child; return false }))
	if root == noChild {
		t.Fatal("the directory has no blocks")
	}
	node, err := v.node(dir, root)
	must(t, err)
	at := int(binary.LittleEndian.Uint32(node))
	node[at+12] |= entryHasChild
	length := int(binary.LittleEndian.Uint16(node[at+8:]))
	binary.LittleEndian.PutUint64(node[at+length-8:], uint64(root))
	if _, err := v.Lookup(find(t, v, "dir"), "\x01"); !errors.Is(err, filesystem.ErrCorrupt) {
		t.Errorf("lookup: %v", err)
	}
}

func TestDirectoryThatLacksItsBitmap(t *testing.T) {
	image := small(t)
	v := fromMemory(t, image)
	id := find(t, v, "dir")
	b := image[place(v, int64(reference(id).number())):]
	for at := binary.LittleEndian.Uint16(b[20:]); ; at += binary.LittleEndian.Uint16(b[at+4:]) {
		if binary.LittleEndian.Uint32(b[at:]) == typeBitmap {
			b[at]++
			break
		}
	}
	var err error
	for _, err = range fromMemory(t, image).ReadDir(id) {
	}
	if !errors.Is(err, filesystem.ErrCorrupt) {
		t.Errorf("a part of the directory is missing, and the error is %v", err)
	}
}

func TestStateOfTheLog(t *testing.T) {
	image := small(t)
	v := fromMemory(t, image)
	log, err := v.metastream(recordLogFile)
	must(t, err)
	at := (log.runs[0].lcn) * v.layout.clusterSize
	page := func(lsn uint64, client, flags uint16) []byte {
		b := make([]byte, 4096)
		le := binary.LittleEndian
		copy(b, "RSTR")
		le.PutUint16(b[4:], 30)
		le.PutUint16(b[6:], 9)
		le.PutUint32(b[16:], 4096)
		le.PutUint32(b[20:], 4096)
		le.PutUint16(b[24:], 48)
		le.PutUint64(b[48:], lsn)
		le.PutUint16(b[60:], client)
		le.PutUint16(b[62:], flags)
		return b
	}
	torn := page(9, 0, 0)
	torn[1022]++
	for name, c := range map[string]struct {
		first, second []byte
		refused       bool
	}{
		"unmounted":                 {page(5, noClient, 0), page(4, noClient, 0), false},
		"clean":                     {page(5, 0, restartClean), page(5, 0, restartClean), false},
		"in use":                    {page(5, 0, 0), page(4, 0, 0), true},
		"in use since":              {page(5, 0, restartClean), page(6, 0, 0), true},
		"clean since":               {page(5, 0, 0), page(6, 0, restartClean), false},
		"newest page torn":          {torn, page(4, 0, restartClean), false},
		"both pages torn":           {torn, torn, true},
		"checked":                   {append([]byte("CHKD"), make([]byte, 4092)...), page(5, 0, 0), false},
		"neither begun nor emptied": {make([]byte, 4096), make([]byte, 4096), true},
	} {
		changed := bytes.Clone(image)
		copy(changed[at:], c.first)
		copy(changed[at+4096:], c.second)
		_, err := Open(device.OfReaderAt(bytes.NewReader(changed), int64(len(changed))))
		if errors.Is(err, filesystem.ErrNeedsReplay) != c.refused || (err != nil) != c.refused {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDirtyVolumeIsNoted(t *testing.T) {
	image := small(t)
	v := fromMemory(t, image)
	at := place(v, recordVolume)
	record := image[at : at+v.layout.recordSize]
	// Flags follow the version, 3.1, in the volume's information.
	i := bytes.Index(record, []byte{3, 1, 0, 0})
	if i < 0 {
		t.Fatal("no version")
	}
	record[i+2] |= flagDirty
	if notes := fromMemory(t, image).Info().Notes; len(notes) != 1 || !strings.Contains(notes[0], "dirty") {
		t.Errorf("notes are %q", notes)
	}
}

func TestChunksThatAreNotLZNT1(t *testing.T) {
	for name, in := range map[string][]byte{
		"cut":            {0x10, 0xb0, 0},
		"repeats before": {0x02, 0xb0, 0x01, 0x00, 0x00},
		"too far back":   {0x03, 0xb0, 0x02, 'a', 0x00, 0x10},
		"too long":       {0x03, 0xb0, 0x02, 'a', 0xff, 0x0f},
	} {
		if err := decompress(make([]byte, 4000), in); !errors.Is(err, filesystem.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRunsOutsideOfTheVolume(t *testing.T) {
	for name, c := range map[string]struct {
		raw  []byte
		high int64
	}{
		"beyond the end":   {[]byte{0x21, 10, 0xf8, 0x03, 0}, 9},
		"before the begin": {[]byte{0x11, 10, 0xff, 0}, 9},
		"too short":        {[]byte{0x11, 5, 1, 0}, 9},
		"too long":         {[]byte{0x11, 20, 1, 0}, 9},
		"nothing":          {[]byte{0x11, 0, 1, 0}, 9},
		"cut":              {[]byte{0x41, 10, 1}, 9},
		"huge":             {[]byte{0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 1, 0}, 9},
	} {
		if runs, err := decodeRuns(&attribute{runs: c.raw, highVCN: c.high}, 1020); !errors.Is(err, filesystem.ErrCorrupt) {
			t.Errorf("%s: %v, %v", name, runs, err)
		}
	}
	runs, err := decodeRuns(&attribute{runs: []byte{0x11, 4, 16, 0x01, 4, 0x11, 2, 0xfc, 0x11, 2, 2, 0}, highVCN: 11}, 1020)
	want := []run{{0, 16, 4}, {4, hole, 4}, {8, 12, 4}}
	if err != nil || fmt.Sprint(runs) != fmt.Sprint(want) {
		t.Errorf("runs are %v, %v; want %v", runs, err, want)
	}
}

func TestHugeSparseFile(t *testing.T) {
	image := fstest.Make(t, 20<<20, "mkfs.ntfs", "-F", "-q", "-Q")
	dir := mount(t, image, mountOptions)
	const size = 1 << 42
	file, err := os.Create(filepath.Join(dir, "huge"))
	must(t, err)
	places := []int64{0, size / 3, size - 100}
	must(t, file.Truncate(size))
	for _, at := range places {
		_, err := file.WriteAt([]byte("something"), at)
		must(t, err)
	}
	file.Close()
	unmount(t, dir, image)
	v := openImage(t, image)
	f, err := v.Open(find(t, v, "huge"))
	must(t, err)
	off := int64(0)
	for _, at := range places {
		start, end, err := f.Data(off)
		if err != nil || start > at || end <= at || at-start > 1<<20 {
			t.Fatalf("data at %d: %d to %d, %v", off, start, end, err)
		}
		b := make([]byte, 9)
		if _, err := f.ReadAt(b, at); err != nil || string(b) != "something" {
			t.Errorf("%q at %d, %v", b, at, err)
		}
		off = end
	}
}

// Fuzz input is a list of places, of 3 bytes, and what to write there, of one.
func FuzzVolume(f *testing.F) {
	fstest.NeedRoot(f)
	image := small(f)
	places := interesting(fromMemory(f, image))
	f.Add([]byte{0, 0, 1, 1})
	f.Add([]byte{0, 100, 1, 1, 0, 200, 20, 5})
	f.Fuzz(func(t *testing.T, edits []byte) {
		d := fstest.Patched(image)
		for ; len(edits) >= 4; edits = edits[4:] {
			at := int(edits[0])<<16 | int(edits[1])<<8 | int(edits[2])
			d.Set(places[at%len(places)], edits[3])
		}
		if fsys, err := Open(d); err == nil {
			fstest.Exercise(fsys)
		}
	})
}

// interesting lists the bytes of what has structure: the boot sector, records, directories.
// The last two bytes of a sector are left out: to change them is to fail the check.
func interesting(v *volume) []int64 {
	var places []int64
	add := func(at, length int64) {
		for i := range length {
			if (at+i)%sectorSize < sectorSize-2 {
				places = append(places, at+i)
			}
		}
	}
	add(0, 90)
	for number := range v.mft.size / v.layout.recordSize {
		if r, err := v.record(uint64(number)); err == nil {
			add(place(v, number), int64(len(r.raw)))
			s, err := v.stream(r, typeIndexBlock, []byte(indexName))
			for i := 0; err == nil && s != nil && i < len(s.runs); i++ {
				add(s.runs[i].lcn*v.layout.clusterSize, s.runs[i].length*v.layout.clusterSize)
			}
		}
	}
	return places
}

func FuzzDecompress(f *testing.F) {
	f.Add([]byte{0x03, 0xb0, 0x02, 'a', 0x00, 0x00})
	f.Fuzz(func(t *testing.T, in []byte) {
		decompress(make([]byte, 3*chunkSize), in)
	})
}
