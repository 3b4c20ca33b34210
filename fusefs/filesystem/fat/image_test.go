package fat

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
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

// mtools runs one of the mtools on an image.
func mtools(t testing.TB, argv ...string) string {
	t.Helper()
	command := exec.Command(argv[0], argv[1:]...)
	command.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "TZ=UTC", "MTOOLS_SKIP_CHECK=1")
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
	return string(out)
}

func format(t testing.TB, size int64, options ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	fstest.Run(t, append(append([]string{"mkfs.vfat"}, options...), path)...)
	return path
}

func openImage(t testing.TB, image string) *volume {
	t.Helper()
	fsys, err := Open(fstest.Open(t, image))
	if err != nil {
		t.Fatal(err)
	}
	return fsys.(*volume)
}

func random(seed uint64, n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(b)
	return b
}

var stampWritten = time.Date(2024, 2, 29, 12, 34, 56, 0, time.UTC)

// write writes a file of a tree that is to be copied into an image.
func write(t testing.TB, root, name string, content []byte) {
	t.Helper()
	path := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, stampWritten, stampWritten); err != nil {
		t.Fatal(err)
	}
}

// tree makes what every kind of FAT has to show.
func tree(t testing.TB) string {
	root := t.TempDir()
	for i, n := range []int{0, 1, 511, 512, 513, 4095, 4096, 4097, 65535, 65536, 65537, 300_001} {
		write(t, root, fmt.Sprintf("sizes/%d", n), random(uint64(i), n))
	}
	for i, name := range []string{
		"UPPER.TXT", "lower.txt", "Mixed.Txt", "UPPER.ext", "lower.EXT", "noext", "a.b.c.d", ".hidden", "with space",
		"Grüße 世界", strings.Repeat("n", 255), strings.Repeat("世", 85), "thirteen.char", "twenty-six-characters.text",
		"a+b=c,[d];e.txt", "~tilde~1.txt",
	} {
		write(t, root, "names/"+name, random(uint64(100+i), 100+i))
	}
	for i := range 300 {
		write(t, root, fmt.Sprintf("many/a rather long name of a file, number %d.text", i), []byte(fmt.Sprint(i)))
	}
	write(t, root, filepath.Join("deep", strings.Repeat("level/", 20), "bottom"), []byte("the bottom\n"))
	if err := os.MkdirAll(filepath.Join(root, "empty"), 0o755); err != nil {
		t.Fatal(err)
	}
	return root
}

// compare holds what the reader shows against the tree that was copied into the image.
func compare(t testing.TB, v *volume, root string) {
	t.Helper()
	ours := fstest.ListFS(t, v, fstest.Ignore{Xattrs: true})
	want := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		want++
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if _, found := ours[rel]; !found {
			t.Errorf("%q is not shown", rel)
			return nil
		}
		id := find(t, v, rel)
		attr, err := v.Stat(id)
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if got := readAll(t, v, id); !bytes.Equal(got, content) {
			t.Errorf("%q has other bytes: %d, want %d", rel, len(got), len(content))
		}
		if attr.Mode != unix.S_IFREG|0o755 || attr.Links != 1 || !attr.Mtime.Equal(stampWritten) || !attr.Ctime.Equal(stampWritten) {
			t.Errorf("%q has attributes %+v", rel, attr)
		}
		if clusters := v.layout.clusterSize; attr.Blocks*512 != (attr.Size+clusters-1)/clusters*clusters {
			t.Errorf("%q has %d blocks, %d bytes", rel, attr.Blocks, attr.Size)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(ours) != want {
		t.Errorf("%d files are shown, %d were made", len(ours), want)
	}
}

func find(t testing.TB, v *volume, path string) filesystem.ID {
	t.Helper()
	id := v.Root()
	for _, name := range strings.Split(path, "/") {
		if name == "." {
			continue
		}
		var err error
		if id, err = v.Lookup(id, name); err != nil {
			t.Fatalf("lookup of %q: %v", path, err)
		}
	}
	return id
}

func readAll(t testing.TB, v *volume, id filesystem.ID) []byte {
	t.Helper()
	file, err := v.Open(id)
	if err != nil {
		t.Fatal(err)
	}
	content := make([]byte, file.Size())
	if _, err := file.ReadAt(content, 0); err != nil {
		t.Fatal(err)
	}
	return content
}

func copyIn(t testing.TB, image, root string) {
	t.Helper()
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	argv := []string{"mcopy", "-s", "-m", "-i", image}
	for _, entry := range entries {
		argv = append(argv, filepath.Join(root, entry.Name()))
	}
	mtools(t, append(argv, "::")...)
}
