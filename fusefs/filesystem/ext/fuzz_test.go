package ext_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"vmsync/fusefs/device"
	"vmsync/fusefs/filesystem/ext"
	"vmsync/fusefs/filesystem/fstest"
)

// fuzzImages are small filesystems without checksums, which would hide most damages; the
// last one has them.
var fuzzImages = []string{
	"-t ext4 -b 1024 -O ^metadata_csum,^has_journal,inline_data,ea_inode -I 256",
	"-t ext2 -b 1024",
	"-t ext3 -b 1024 -J size=1",
	"-t ext4 -b 1024 -O ^metadata_csum,orphan_file -J size=1",
	"-t ext4 -b 1024 -O bigalloc,^metadata_csum,^has_journal -C 4096",
	"-t ext4 -b 1024 -J size=1",
}

// FuzzOpen reads filesystems that have some bytes changed: whatever they say, there must
// be an end to it. Edits are of five bytes each: block (two), byte within it (two), value. Blocks are counted
// among those that are not empty.
func FuzzOpen(f *testing.F) {
	if _, err := exec.LookPath("mke2fs"); err != nil {
		f.Skip(err)
	}
	source := fuzzTree(f)
	var images []*fuzzImage
	for n, mkfs := range fuzzImages {
		images = append(images, newFuzzImage(f, source, mkfs))
		f.Add(uint8(n), []byte{})
		f.Add(uint8(n), []byte{0, 0, 0x18, 0, 1, 3, 0, 7, 0, 200, 9, 0, 3, 0, 2})
	}
	f.Fuzz(func(t *testing.T, which uint8, edits []byte) {
		image := images[int(which)%len(images)]
		defer image.edit(edits[:min(len(edits), 64)])()
		fsys, err := ext.Open(device.OfReaderAt(bytes.NewReader(image.bytes), int64(len(image.bytes))))
		if err == nil {
			fstest.Exercise(fsys)
		}
	})
}

// fuzzTree makes the files that fuzzed filesystems hold.
func fuzzTree(f *testing.F) string {
	dir := f.TempDir()
	must := func(err error) {
		if err != nil {
			f.Fatal(err)
		}
	}
	must(os.Mkdir(filepath.Join(dir, "many"), 0o755))
	for n := range 150 {
		must(os.WriteFile(filepath.Join(dir, "many", fmt.Sprintf("a long name of a file %d", n)), bytes.Repeat([]byte("x"), n), 0o644))
	}
	sparse, err := os.Create(filepath.Join(dir, "sparse"))
	must(err)
	for at := int64(0); at < 400_000; at += 20_000 {
		_, err := sparse.WriteAt([]byte("data"), at)
		must(err)
	}
	must(sparse.Close())
	must(os.Symlink("short", filepath.Join(dir, "link")))
	must(os.Symlink(strings.Repeat("long/", 40), filepath.Join(dir, "longlink")))
	return dir
}

type fuzzImage struct {
	bytes []byte
	used  []int // blocks of 1 KiB that are not empty
}

func newFuzzImage(f *testing.F, source, mkfs string) *fuzzImage {
	path := filepath.Join(f.TempDir(), "image")
	run := func(argv ...string) {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			f.Fatalf("%s: %v\n%s", argv, err, out)
		}
	}
	run(append(append([]string{"mke2fs", "-q", "-F", "-N", "256", "-d", source}, strings.Fields(mkfs)...), path, "4096")...)
	commands := "ea_set sparse user.name value\nea_set many user.other " + strings.Repeat("v", 300) + "\n"
	if strings.Contains(mkfs, "-J") {
		content := filepath.Join(f.TempDir(), "content")
		if err := os.WriteFile(content, bytes.Repeat([]byte("journal "), 1024), 0o644); err != nil {
			f.Fatal(err)
		}
		commands += "journal_open\njournal_write -b 3000,3001,3002,3003 " + content + "\njournal_write -r 3001,3002\njournal_write -b 3004 " + content + "\njournal_close\n"
	}
	script := filepath.Join(f.TempDir(), "script")
	if err := os.WriteFile(script, []byte(commands), 0o644); err != nil {
		f.Fatal(err)
	}
	run("debugfs", "-w", "-f", script, path)
	b, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	image := &fuzzImage{bytes: b}
	for at := 0; at < len(b); at += 1024 {
		if !bytes.Equal(b[at:at+1024], make([]byte, 1024)) {
			image.used = append(image.used, at)
		}
	}
	return image
}

// edit changes bytes, and returns how to change them back.
func (i *fuzzImage) edit(edits []byte) func() {
	type change struct {
		at  int
		old byte
	}
	var changes []change
	for ; len(edits) >= 5; edits = edits[5:] {
		block := i.used[(int(edits[0])|int(edits[1])<<8)%len(i.used)]
		at := block + (int(edits[2])|int(edits[3])<<8)%1024
		changes = append(changes, change{at, i.bytes[at]})
		i.bytes[at] = edits[4]
	}
	return func() {
		for n := len(changes) - 1; n >= 0; n-- {
			i.bytes[changes[n].at] = changes[n].old
		}
	}
}
