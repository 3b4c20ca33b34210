package guest

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"
)

// TestArchiveIsReadByCpio has the system's cpio read what archive wrote.
func TestArchiveIsReadByCpio(t *testing.T) {
	cpio, err := exec.LookPath("cpio")
	if err != nil {
		t.Skip("cpio is not installed")
	}
	var b bytes.Buffer
	a := newArchive(&b)
	a.file("a/b/file", 0o755, []byte("12345"))
	a.link("init", "a/b/file")
	if err := a.close(); err != nil {
		t.Fatal(err)
	}
	list := exec.Command(cpio, "-itv", "--quiet")
	list.Stdin = bytes.NewReader(b.Bytes())
	out, err := list.CombinedOutput()
	if err != nil {
		t.Fatalf("cpio: %v: %s", err, out)
	}
	var got []string
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		got = append(got, f[0]+" "+f[4]+" "+strings.Join(f[8:], " "))
	}
	want := "drwxr-xr-x 0 a\ndrwxr-xr-x 0 a/b\n-rwxr-xr-x 5 a/b/file\nlrwxrwxrwx 9 init -> /a/b/file"
	if strings.Join(got, "\n") != want {
		t.Errorf("cpio lists\n%s\nwant\n%s", strings.Join(got, "\n"), want)
	}
}
