package main

import (
	"bufio"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"vmsync/nbdproxy/nbdtest"
)

func TestProxyServesUntilItIsStopped(t *testing.T) {
	a := nbdtest.ServeImage(t, nbdtest.Image(t, nbdtest.MiB, "write -P 1 0 64k"), "-r")
	b := nbdtest.ServeImage(t, nbdtest.Image(t, 2*nbdtest.MiB, "write -P 2 0 64k"))
	socket := filepath.Join(nbdtest.Folder(t), "s")
	cmd := proxyCommand()
	cmd.SetArgs([]string{
		"--upstream", "nbd+unix:///disk?socket=" + a.Socket, "--name", "vda", "--description", "the first",
		"--upstream", "nbd+unix:///disk?socket=" + b.Socket, "--name", "vdb", "--writable",
		"--upstream", "nbd+unix:///disk?socket=" + b.Socket, "--unix", socket, "--listen", "127.0.0.1:0",
	})
	r, w := io.Pipe()
	cmd.SetOut(w)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- cmd.ExecuteContext(ctx)
		_ = w.Close()
	}()
	out := bufio.NewReader(r)
	line, err := out.ReadString('\n')
	address, ok := strings.CutPrefix(strings.TrimSpace(line), "listening on "+socket+" and ")
	if err != nil || !ok {
		t.Fatalf("said %q, error %v", line, err)
	}
	for _, uri := range []string{"nbd+unix:///vda?socket=" + socket, "nbd://" + address + "/vda", "nbd://" + address} {
		nbdtest.Run(t, "qemu-io", "-r", "-f", "raw", "-c", "read -P 1 0 64k", uri)
	}
	nbdtest.Run(t, "qemu-io", "-r", "-f", "raw", "-c", "read -P 2 0 64k", "nbd://"+address+"/disk")
	nbdtest.Run(t, "qemu-io", "-f", "raw", "-c", "write -P 3 0 64k", "nbd://"+address+"/vdb")
	if out, err := exec.Command("qemu-io", "-f", "raw", "-c", "write -P 3 0 64k", "nbd://"+address+"/disk").CombinedOutput(); err == nil {
		t.Errorf("an export without --writable was written to: %s", out)
	}
	if list := nbdtest.Run(t, "nbdinfo", "--list", "nbd://"+address); !strings.Contains(list, "description: the first") {
		t.Errorf("%s", list)
	}
	cancel()
	if rest, _ := io.ReadAll(out); len(rest) > 0 {
		t.Errorf("said more: %q", rest)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(socket); !os.IsNotExist(err) {
		t.Errorf("the socket stays: %v", err)
	}
}

func TestProxyRefusesWhatItCannotDo(t *testing.T) {
	for name, args := range map[string][]string{
		"nothing to offer":      {"--unix", "/nonexistent/s"},
		"no NBD URI":            {"--upstream", "/run/s", "--unix", "/nonexistent/s"},
		"bitmap of nothing":     {"--bitmap", "b", "--upstream", "nbd://127.0.0.1:1/x", "--unix", "/nonexistent/s"},
		"server that is away":   {"--upstream", "nbd://127.0.0.1:1/x", "--unix", "/nonexistent/s"},
		"write to nothing":      {"--writable", "--upstream", "nbd://127.0.0.1:1/x", "--unix", "/nonexistent/s"},
		"words beside the flag": {"--upstream", "nbd://127.0.0.1:1/x", "--unix", "/nonexistent/s", "more"},
	} {
		cmd := proxyCommand()
		cmd.SetArgs(args)
		cmd.SetOut(io.Discard)
		cmd.SetErr(io.Discard)
		if err := cmd.ExecuteContext(t.Context()); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
