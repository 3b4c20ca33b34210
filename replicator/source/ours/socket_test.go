package ours

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestOnlySocketsThatThisDomainsDeadQemuLeftAreRemoved(t *testing.T) {
	dir, err := os.MkdirTemp("", "ours") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	put := func(name string, alive bool) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
		if err != nil {
			t.Fatal(err)
		}
		if alive {
			t.Cleanup(func() { l.Close() })
			return path
		}
		l.SetUnlinkOnClose(false)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		return path
	}
	want := []string{
		put("domain-4-database-with-a-long/vmsync-8b294fc9.sock", false),
		put("domain-7-database-with-a-long/vmsync-0a0b0c0d.sock", false),
	}
	kept := []string{
		put("domain-7-database-with-a-long/vmsync-8b294fc9.sock", true),
		put("domain-7-database-with-a-long/monitor.sock", false),
		put("domain-7-database-with-a-long/vmsync-mine.sock", false),
		put("domain-5-web/vmsync-8b294fc9.sock", false),
		put("other-5-database/vmsync-8b294fc9.sock", false),
	}
	got, err := RemoveSockets(dir, "database-with-a-long-name")
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("removed %v, %v; want %v", got, err, want)
	}
	for _, path := range want {
		if _, err := os.Lstat(path); err == nil {
			t.Errorf("%s is still there", path)
		}
	}
	for _, path := range kept {
		if _, err := os.Lstat(path); err != nil {
			t.Error(err)
		}
	}
}

func TestFolderOfARunAmongThoseThatACrashLeft(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"domain-1-web", "domain-1-web2", "domain-1-mail", "domain-11-web2", "domain-2-a-domain-whose-name-"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		id           uint
		domain, want string
	}{
		{1, "web", "domain-1-web"},
		{1, "web2", "domain-1-web2"},
		{11, "web2", "domain-11-web2"},
		{2, "a-domain-whose-name-is-long", "domain-2-a-domain-whose-name-"},
		{2, "web", ""},
		{3, "web", ""},
	} {
		got, err := RunFolder(dir, c.id, c.domain)
		if c.want != "" {
			c.want = filepath.Join(dir, c.want)
		}
		if err != nil || got != c.want {
			t.Errorf("%d %s: %q, %v; want %q", c.id, c.domain, got, err, c.want)
		}
	}
}
