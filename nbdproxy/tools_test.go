package nbdproxy_test

import (
	"context"
	"net"
	"os/exec"
	"path/filepath"
	"testing"

	"vmsync/nbdproxy"
)

func TestSmoke(t *testing.T) {
	m := newMemory(64 << 20)
	m.WriteAt([]byte("hello"), 5<<20)
	s, err := nbdproxy.NewServer(nbdproxy.Config{Exports: []nbdproxy.Export{{Name: "vda", Description: "a disk", Backend: m, MultiConn: true}}})
	if err != nil {
		t.Fatal(err)
	}
	sock := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { done <- s.Serve(ctx, l) }()
	uri := "nbd+unix:///vda?socket=" + sock
	for _, c := range [][]string{
		{"nbdinfo", "--list", uri},
		{"nbdinfo", "--map", uri},
		{"nbdinfo", "--map=" + dirtyBitmap, uri},
		{"nbdinfo", uri},
		{"qemu-io", "-f", "raw", "-c", "write -P 7 1M 3M", "-c", "read -P 7 1M 3M", "-c", "write -z 2M 1M", "-c", "discard 0 64k", "-c", "flush", "-c", "read -P 0 2M 1M", uri},
		{"qemu-img", "map", "-f", "raw", uri},
		{"qemu-img", "info", uri},
		{"nbdcopy", uri, "null:"},
	} {
		out, err := exec.Command(c[0], c[1:]...).CombinedOutput()
		t.Logf("%v: %v\n%s", c, err, out)
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
