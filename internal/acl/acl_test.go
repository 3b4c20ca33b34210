package acl

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// listed is what getfacl says of a path, a line per entry.
func listed(t *testing.T, path string) string {
	t.Helper()
	out, err := exec.Command("getfacl", "-n", "-p", "-c", path).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestFolderIsOpenToThoseUsersAlone(t *testing.T) {
	dir := t.TempDir()
	if err := Open(dir, 64055, 7, 64055); err != nil {
		t.Fatal(err)
	}
	if got, want := listed(t, dir), "user::rwx\nuser:7:rwx\nuser:64055:rwx\ngroup::---\nmask::rwx\nother::---"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if err := Open(dir); err != nil {
		t.Fatal(err)
	}
	if got, want := listed(t, dir), "user::rwx\ngroup::---\nother::---"; got != want {
		t.Errorf("nobody else: got\n%s\nwant\n%s", got, want)
	}
}

func TestFilesInFolderAreOpenToTheHeir(t *testing.T) {
	dir := t.TempDir()
	if err := Bequeath(dir, 7); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "made")
	if err := os.WriteFile(path, nil, 0o660); err != nil {
		t.Fatal(err)
	}
	if got, want := listed(t, path), "user::rw-\nuser:7:rwx\t#effective:rw-\ngroup::---\nmask::rw-\nother::---"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestFolderThatIsNotThereIsNamed(t *testing.T) {
	err := Open("/nonexistent/folder", 7)
	if err == nil || !strings.Contains(err.Error(), "/nonexistent/folder") {
		t.Errorf("error %v", err)
	}
}
