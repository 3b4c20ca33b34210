package upstream_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"vmsync/nbdproxy/upstream"
)

const (
	kib = int64(1) << 10
	mib = int64(1) << 20
	gib = int64(1) << 30
)

// patience is how long a test waits for what should take moments. It is long
// because nothing may fail for being slow.
const patience = 2 * time.Minute

// folder is a folder with a short path: unix sockets have to fit into it.
func folder(t testing.TB) string {
	t.Helper()
	for _, tool := range []string{"qemu-img", "qemu-io", "qemu-nbd"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("this test needs %s", tool)
		}
	}
	dir, err := os.MkdirTemp("", "vmu")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// run runs a program that has to succeed.
func run(t testing.TB, argv ...string) string {
	t.Helper()
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
	return string(out)
}

// image makes a qcow2 image and runs qemu-io commands on it.
func image(t testing.TB, size int64, cmds ...string) string {
	t.Helper()
	path := filepath.Join(folder(t), "image")
	run(t, "qemu-img", "create", "-q", "-f", "qcow2", path, fmt.Sprint(size))
	qemuIO(t, path, cmds...)
	return path
}

func qemuIO(t testing.TB, path string, cmds ...string) {
	t.Helper()
	argv := []string{"qemu-io", "-f", "qcow2", "-d", "unmap"}
	for _, c := range cmds {
		argv = append(argv, "-c", c)
	}
	if len(cmds) > 0 {
		run(t, append(argv, path)...)
	}
}

// noise makes an image full of bytes that differ everywhere, and returns them.
func noise(t testing.TB, size int64) (path string, content []byte) {
	t.Helper()
	path = image(t, size)
	content = make([]byte, size)
	for i := range content {
		content[i] = byte(uint64(i) * 0x9e3779b97f4a7c15 >> 37)
	}
	raw := path + ".raw"
	if err := os.WriteFile(raw, content, 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "qemu-img", "convert", "-n", "-f", "raw", "-O", "qcow2", raw, path)
	return path, content
}

// server is a running qemu-nbd.
type server struct {
	socket string
	cmd    *exec.Cmd
	ended  chan struct{}
}

// serve serves an image as export "disk" until the test ends.
func serve(t testing.TB, args ...string) *server {
	t.Helper()
	s := &server{socket: filepath.Join(folder(t), "s")}
	s.cmd = exec.Command("qemu-nbd", slices.Concat([]string{"-t", "-k", s.socket, "-x", "disk"}, args)...)
	var log bytes.Buffer
	s.cmd.Stderr = &log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.ended = make(chan struct{})
	go func() { _ = s.cmd.Wait(); close(s.ended) }()
	t.Cleanup(s.stop)
	for {
		if c, err := net.Dial("unix", s.socket); err == nil {
			_ = c.Close()
			return s
		}
		select {
		case <-s.ended:
			t.Fatalf("qemu-nbd did not start: %s", log.String())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// serveImage serves a qcow2 image to several clients.
func serveImage(t testing.TB, path string, args ...string) *server {
	t.Helper()
	return serve(t, slices.Concat([]string{"-e", "8", "-f", "qcow2"}, args, []string{path})...)
}

// stop ends the server cleanly, so that its image may be read. qemu-nbd forgets a
// signal that comes before it has begun to serve.
func (s *server) stop() {
	for {
		_ = s.cmd.Process.Signal(syscall.SIGCONT)
		_ = s.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-s.ended:
			return
		case <-time.After(time.Second):
		}
	}
}

func (s *server) signal(t testing.TB, sig syscall.Signal) {
	t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// dial connects a backend, closed when the test ends.
func dial(t testing.TB, s *server, bitmap string) *upstream.Backend {
	t.Helper()
	b, err := upstream.Dial(t.Context(), upstream.Config{Socket: s.socket, Export: "disk", Bitmap: bitmap, Conns: 4})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

// await waits for a channel to be closed.
func await(t testing.TB, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		t.Fatalf("%s: not in time", what)
	}
}

// forward passes connections on to a unix socket until the listener is closed.
func forward(l net.Listener, socket string) {
	for {
		from, err := l.Accept()
		if err != nil {
			return
		}
		to, err := net.Dial("unix", socket)
		if err != nil {
			_ = from.Close()
			continue
		}
		go func() { _, _ = io.Copy(to, from); _ = to.Close() }()
		go func() { _, _ = io.Copy(from, to); _ = from.Close() }()
	}
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
