// Package nbdtest runs real NBD servers for tests: qemu-nbd on images of their own.
package nbdtest

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Sizes in bytes.
const (
	KiB = int64(1) << 10
	MiB = int64(1) << 20
)

// Patience is how long a test waits for what should take moments. It is long
// because nothing may fail for being slow.
const Patience = 2 * time.Minute

// Folder is a folder with a short path: unix sockets have to fit into it.
func Folder(t testing.TB) string {
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

// Run runs a program that has to succeed.
func Run(t testing.TB, argv ...string) string {
	t.Helper()
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
	return string(out)
}

// Image makes a qcow2 image and runs qemu-io commands on it.
func Image(t testing.TB, size int64, cmds ...string) string {
	t.Helper()
	path := filepath.Join(Folder(t), "image")
	Run(t, "qemu-img", "create", "-q", "-f", "qcow2", path, fmt.Sprint(size))
	QemuIO(t, path, cmds...)
	return path
}

// QemuIO runs qemu-io commands on a qcow2 image.
func QemuIO(t testing.TB, path string, cmds ...string) {
	t.Helper()
	argv := []string{"qemu-io", "-f", "qcow2", "-d", "unmap"}
	for _, c := range cmds {
		argv = append(argv, "-c", c)
	}
	if len(cmds) > 0 {
		Run(t, append(argv, path)...)
	}
}

// Noise makes an image full of bytes that differ everywhere, and returns them.
func Noise(t testing.TB, size int64) (path string, content []byte) {
	t.Helper()
	path = Image(t, size)
	content = make([]byte, size)
	for i := range content {
		content[i] = byte(uint64(i) * 0x9e3779b97f4a7c15 >> 37)
	}
	raw := path + ".raw"
	if err := os.WriteFile(raw, content, 0o600); err != nil {
		t.Fatal(err)
	}
	Run(t, "qemu-img", "convert", "-n", "-f", "raw", "-O", "qcow2", raw, path)
	return path, content
}

// Server is a running qemu-nbd.
type Server struct {
	Socket string
	Ended  chan struct{} // closed when it has ended
	cmd    *exec.Cmd
}

// Serve serves an image as export "disk" until the test ends.
func Serve(t testing.TB, args ...string) *Server {
	t.Helper()
	s := &Server{Socket: filepath.Join(Folder(t), "s")}
	s.cmd = exec.Command("qemu-nbd", slices.Concat([]string{"-t", "-k", s.Socket, "-x", "disk"}, args)...)
	var log bytes.Buffer
	s.cmd.Stderr = &log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.Ended = make(chan struct{})
	go func() { _ = s.cmd.Wait(); close(s.Ended) }()
	t.Cleanup(s.Stop)
	for {
		if c, err := net.Dial("unix", s.Socket); err == nil {
			_ = c.Close()
			return s
		}
		select {
		case <-s.Ended:
			t.Fatalf("qemu-nbd did not start: %s", log.String())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// ServeImage serves a qcow2 image to several clients.
func ServeImage(t testing.TB, path string, args ...string) *Server {
	t.Helper()
	return Serve(t, slices.Concat([]string{"-e", "8", "-f", "qcow2"}, args, []string{path})...)
}

// Stop ends the server cleanly, so that its image may be read. qemu-nbd forgets a
// signal that comes before it has begun to serve.
func (s *Server) Stop() {
	for {
		_ = s.cmd.Process.Signal(syscall.SIGCONT)
		_ = s.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-s.Ended:
			return
		case <-time.After(time.Second):
		}
	}
}

// Signal sends a signal to it.
func (s *Server) Signal(t testing.TB, sig syscall.Signal) {
	t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// Await waits for a channel to be closed.
func Await(t testing.TB, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(Patience):
		t.Fatalf("%s: not in time", what)
	}
}

// Forward passes connections on to a unix socket until the listener is closed.
func Forward(l net.Listener, socket string) {
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
