package ext_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"vmsync/fusefs/filesystem/fstest"
)

// TestRevokedLikeTheKernel writes journals with debugfs, in every format, whose blocks are
// revoked before, in and after the transaction that holds them, or written again.
func TestRevokedLikeTheKernel(t *testing.T) {
	fstest.NeedRoot(t)
	for _, format := range []struct{ mkfs, open string }{
		{"-t ext3", ""},
		{"-t ext4 -O ^64bit,^metadata_csum", ""},
		{"-t ext4 -O 64bit,^metadata_csum", ""},
		{"-t ext4 -O ^64bit", "-c -v 2"},
		{"-t ext4 -O 64bit", "-c -v 2"},
		{"-t ext4 -O ^64bit", "-c -v 3"},
		{"-t ext4 -O 64bit", "-c -v 3"},
	} {
		t.Run(format.mkfs+" "+format.open, func(t *testing.T) {
			source := t.TempDir()
			old := bytes.Repeat([]byte("old data"), 512*8)
			if err := os.WriteFile(filepath.Join(source, "file"), old, 0o644); err != nil {
				t.Fatal(err)
			}
			image := fromTree(t, source, "32M", "-b 4096 "+format.mkfs)
			var place [8]int64
			for n := range place {
				place[n] = ask(t, image, fmt.Sprintf("bmap file %d", n))
			}
			saved := func(text string) string {
				path := filepath.Join(t.TempDir(), "content")
				if err := os.WriteFile(path, bytes.Repeat([]byte(text), 512), 0o644); err != nil {
					t.Fatal(err)
				}
				return path
			}
			one, two := saved("new data"), saved("2nd data")
			commands := "journal_open " + format.open + "\n"
			for _, step := range []string{
				fmt.Sprintf("-b %d %s", place[0], one), // stays
				fmt.Sprintf("-b %d %s", place[1], one), // revoked later
				fmt.Sprintf("-b %d %s", place[2], one), // revoked, then written again
				fmt.Sprintf("-b %d %s", place[3], one), // written again
				fmt.Sprintf("-r %d,%d", place[1], place[2]),
				fmt.Sprintf("-r %d", place[4]), // before it is written
				fmt.Sprintf("-b %d %s", place[2], two),
				fmt.Sprintf("-b %d %s", place[3], two),
				fmt.Sprintf("-b %d %s", place[4], two),
				fmt.Sprintf("-b %d -r %d %s", place[5], place[5], two), // in one transaction
			} {
				commands += "journal_write " + step + "\n"
			}
			script := filepath.Join(t.TempDir(), "script")
			if err := os.WriteFile(script, []byte(commands+"journal_close\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			fstest.Run(t, "debugfs", "-w", "-f", script, image)

			fsys := open(t, image)
			have := content(t, fsys, lookup(t, fsys, "file"))
			for n, want := range []string{"new", "old", "2nd", "2nd", "2nd", "old", "old", "old"} {
				if b := have[4096*n:][:4096]; !bytes.Equal(b, bytes.Repeat([]byte(want+" data"), 512)) {
					t.Errorf("block %d is not %s: %.8s", n, want, b)
				}
			}
			fstest.Compare(t, fsys, fstest.Mount(t, fstest.Copy(t, image), "noatime"), fstest.Ignore{})
		})
	}
}
