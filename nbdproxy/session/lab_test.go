package session_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"vmsync/nbdproxy/nbdtest"
	"vmsync/nbdproxy/session"
	"vmsync/nbdproxy/spec"
)

// patience is how long a test waits for what should take moments.
const patience = nbdtest.Patience

// lab is a folder with images and NBD servers. Its path is short: unix sockets
// have to fit into it.
type lab struct {
	t   testing.TB
	dir string
	way way

	servers int // that were started
}

// way is how a stream gets from serve to apply.
type way struct {
	lanes  int  // 0 is 1
	direct bool // by TLS, not relayed
}

func newLab(t testing.TB) *lab {
	t.Helper()
	return &lab{t: t, dir: nbdtest.Folder(t)}
}

func (l *lab) path(name string) string { return filepath.Join(l.dir, name) }

// run runs a program that has to succeed.
func (l *lab) run(argv ...string) string {
	l.t.Helper()
	return nbdtest.Run(l.t, argv...)
}

// image makes a qcow2 image and runs qemu-io commands on it.
func (l *lab) image(name string, size int64, cmds ...string) string {
	l.t.Helper()
	p := l.path(name)
	l.run("qemu-img", "create", "-q", "-f", "qcow2", p, fmt.Sprint(size))
	l.io(p, cmds...)
	return p
}

// overlay makes an empty image over another.
func (l *lab) overlay(name, base string, size int64) string {
	l.t.Helper()
	p := l.path(name)
	l.run("qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", p, fmt.Sprint(size))
	return p
}

func (l *lab) io(image string, cmds ...string) {
	l.t.Helper()
	if len(cmds) == 0 {
		return
	}
	argv := []string{"qemu-io", "-f", "qcow2", "-d", "unmap"}
	for _, c := range cmds {
		argv = append(argv, "-c", c)
	}
	out := l.run(append(argv, image)...)
	if strings.Contains(out, "failed") || strings.Contains(out, "rror") {
		l.t.Fatalf("qemu-io: %s", out)
	}
}

// server is a running qemu-nbd.
type server struct {
	socket string
	cmd    *exec.Cmd
}

// nbd serves an image until the test ends.
func (l *lab) nbd(image string, args ...string) *server {
	l.t.Helper()
	l.servers++
	s := &server{socket: l.path(fmt.Sprintf("%s.%d.sock", filepath.Base(image), l.servers))}
	// Its socket is there before it listens; its pid file only afterwards.
	ready := s.socket + ".pid"
	argv := slices.Concat([]string{"-t", "-e", "8", "-f", "qcow2", "-k", s.socket, "-x", "disk", "--pid-file=" + ready}, args, []string{image})
	s.cmd = exec.Command("qemu-nbd", argv...)
	var log bytes.Buffer
	s.cmd.Stderr = &log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(s.stop)
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(ready); err == nil {
			return s
		}
		if s.cmd.Process.Signal(syscall.Signal(0)) != nil || time.Now().After(end) {
			l.t.Fatalf("qemu-nbd did not start: %s", log.String())
		}
	}
}

// stop ends the server cleanly, so that its image may be read. A qemu-nbd that a
// client left in the middle of a handshake may hear no SIGTERM any more (7.2): that
// one is killed.
func (s *server) stop() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	limit := time.AfterFunc(10*time.Second, func() { _ = s.cmd.Process.Kill() })
	defer limit.Stop()
	_ = s.cmd.Wait()
}

// kill ends it as a crash would.
func (s *server) kill() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

// source serves an image read-only, with a bitmap unless it is empty.
func (l *lab) source(image, bitmap string) *server {
	l.t.Helper()
	args := []string{"-r"}
	if bitmap != "" {
		args = append(args, "-B", bitmap)
	}
	return l.nbd(image, args...)
}

// target serves an image to be written.
func (l *lab) target(image string) *server {
	l.t.Helper()
	return l.nbd(image, "--discard=unmap")
}

// same fails unless both images have the same bytes.
func (l *lab) same(a, b string) {
	l.t.Helper()
	l.run("qemu-img", "compare", "-q", "-f", "qcow2", "-F", "qcow2", a, b)
}

// sameRaw compares as same does, but lets qemu only read the images, not judge.
func (l *lab) sameRaw(a, b string) {
	l.t.Helper()
	for _, p := range []string{a, b} {
		l.run("qemu-img", "convert", "-f", "qcow2", "-O", "raw", p, p+".raw")
	}
	l.run("cmp", a+".raw", b+".raw")
}

// process is a session that runs in this process.
type process struct {
	t      testing.TB
	stdin  *io.PipeWriter
	ready  chan struct{}
	ended  chan struct{}
	cancel context.CancelFunc

	mu     sync.Mutex
	events []spec.Event
	err    error
}

// start runs Serve or Apply on a document.
func start(t testing.TB, f func(context.Context, session.IO) error, doc any) *process {
	t.Helper()
	line, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	p := &process{t: t, stdin: inW, ready: make(chan struct{}), ended: make(chan struct{}), cancel: cancel}
	go func() {
		err := f(ctx, session.IO{In: inR, Out: outW, Log: slog.New(slog.DiscardHandler)})
		p.mu.Lock()
		p.err = err
		p.mu.Unlock()
		_ = outW.Close()
	}()
	go func() { _, _ = inW.Write(append(line, '\n')) }()
	go p.follow(outR)
	t.Cleanup(func() { _ = inW.Close(); <-p.ended })
	return p
}

func (p *process) follow(r io.Reader) {
	defer close(p.ended)
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		var ev spec.Event
		if err := json.Unmarshal(lines.Bytes(), &ev); err != nil {
			p.t.Errorf("event %q: %v", lines.Text(), err)
			continue
		}
		p.mu.Lock()
		p.events = append(p.events, ev)
		p.mu.Unlock()
		if ev.Event == spec.EventReady {
			close(p.ready)
		}
	}
}

// awaitReady waits for the ready event.
func (p *process) awaitReady() spec.Event {
	p.t.Helper()
	select {
	case <-p.ready:
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.events[0]
	case <-p.ended:
		p.t.Fatalf("ended before it was ready: %v", p.last().Error)
	case <-time.After(patience):
		p.t.Fatal("not ready in time")
	}
	panic("unreachable")
}

// last waits for the end and returns the last event, after checking that it is the
// only one of its kind and fits what the function returned.
func (p *process) last() spec.Event {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(patience):
		p.t.Fatal("did not end in time")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.events) == 0 {
		p.t.Fatal("no event")
	}
	for i, ev := range p.events {
		if end := ev.Event == spec.EventDone || ev.Event == spec.EventFailed; end != (i == len(p.events)-1) {
			p.t.Fatalf("event %d of %d is %q", i+1, len(p.events), ev.Event)
		}
	}
	last := p.events[len(p.events)-1]
	if (last.Event == spec.EventDone) != (p.err == nil) {
		p.t.Fatalf("event %q, but error %v", last.Event, p.err)
	}
	return last
}

func (p *process) done() spec.Event {
	p.t.Helper()
	ev := p.last()
	if ev.Event != spec.EventDone {
		p.t.Fatalf("failed: %+v", *ev.Error)
	}
	return ev
}

func (p *process) failed(kind, disk string) {
	p.t.Helper()
	ev := p.last()
	if ev.Event != spec.EventFailed || ev.Error == nil || ev.Error.Kind != kind || ev.Error.Disk != disk {
		p.t.Fatalf("got %q %+v; want failed with kind %q, disk %q", ev.Event, ev.Error, kind, disk)
	}
}

// relay copies between two sockets as the controller does, both ways and with
// half-closes, until both are closed. It returns the bytes from a to b.
func relay(t testing.TB, a, b string) (wait func() int64) {
	t.Helper()
	from, to := dial(t, a), dial(t, b)
	var n int64
	var wg sync.WaitGroup
	wg.Go(func() { n, _ = io.Copy(to, from); _ = to.CloseWrite() })
	wg.Go(func() { _, _ = io.Copy(from, to); _ = from.CloseWrite() })
	done := make(chan struct{})
	go func() { wg.Wait(); _ = from.Close(); _ = to.Close(); close(done) }()
	t.Cleanup(func() { _ = from.Close(); _ = to.Close(); <-done })
	return func() int64 { <-done; return n }
}

func dial(t testing.TB, path string) *net.UnixConn {
	t.Helper()
	c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}
