package session_test

import (
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"vmsync/nbdproxy/session"
	"vmsync/nbdproxy/spec"
)

// gate is a relay that stops after some bytes until it is opened.
type gate struct {
	open chan struct{}
	once sync.Once
}

func (g *gate) release() { g.once.Do(func() { close(g.open) }) }

// gatedRelay is relay with a gate after n bytes.
func gatedRelay(t *testing.T, a, b string, n int64) *gate {
	t.Helper()
	from, to := dial(t, a), dial(t, b)
	g := &gate{open: make(chan struct{})}
	passed := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		_, _ = io.CopyN(to, from, n)
		close(passed)
		<-g.open
		_, _ = io.Copy(to, from)
		_ = to.CloseWrite()
	})
	wg.Go(func() { _, _ = io.Copy(from, to); _ = from.CloseWrite() })
	t.Cleanup(func() { g.release(); _ = from.Close(); _ = to.Close(); wg.Wait() })
	<-passed
	return g
}

// halfway starts a transfer of two disks of 64 MiB each and stops it midway.
type halfway struct {
	*lab
	sources, targets []*server
	serve, apply     *process
	gate             *gate
}

func newHalfway(t *testing.T) *halfway {
	t.Helper()
	h := &halfway{lab: newLab(t)}
	var transfers []transfer
	for _, name := range []string{"vda", "vdb"} {
		x := transfer{name: name, size: 64 * mib}
		x.from, x.to = h.image("s"+name, x.size, "write -q -P 1 0 64M"), h.image("r"+name, x.size)
		h.sources, h.targets = append(h.sources, h.source(x.from, "")), append(h.targets, h.target(x.to))
		transfers = append(transfers, x)
	}
	s, a := h.documents("", "none", transfers, h.sources, h.targets)
	h.serve, h.apply = start(t, session.Serve, s), start(t, session.Apply, a)
	h.serve.awaitReady()
	h.apply.awaitReady()
	h.gate = gatedRelay(t, s.Listen, a.Listen, 8*mib)
	return h
}

func TestHalfwayAloneCompletes(t *testing.T) {
	h := newHalfway(t)
	h.gate.release()
	h.serve.done()
	h.apply.done()
}

func TestReceiverGoneMidwayFailsTheSender(t *testing.T) {
	h := newHalfway(t)
	_ = h.apply.stdin.Close()
	h.apply.failed(spec.KindStopped, "")
	h.serve.failed(spec.KindPeer, "")
}

func TestSenderGoneMidwayFailsTheReceiver(t *testing.T) {
	h := newHalfway(t)
	_ = h.serve.stdin.Close()
	h.serve.failed(spec.KindStopped, "")
	h.gate.release()
	h.apply.failed(spec.KindPeer, "")
}

func TestExportKilledMidwayNamesTheDisk(t *testing.T) {
	h := newHalfway(t)
	h.sources[1].kill()
	h.gate.release()
	h.serve.failed(spec.KindExport, "vdb")
	h.apply.failed(spec.KindPeer, "")
}

func TestTargetKilledMidwayNamesTheDisk(t *testing.T) {
	h := newHalfway(t)
	h.targets[0].kill()
	h.gate.release()
	h.apply.failed(spec.KindTarget, "vda")
	h.serve.failed(spec.KindPeer, "")
}

func TestFullFileSystemNamesTheDisk(t *testing.T) {
	l := newLab(t)
	small := l.path("small")
	if err := os.Mkdir(small, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", small, "tmpfs", 0, "size=16m"); err != nil {
		t.Skipf("this test needs to mount a tmpfs: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(small, unix.MNT_DETACH) })
	const size = 64 * mib
	a := transfer{name: "vda", from: l.image("a", size, "write -q -P 1 0 1M"), to: l.image("ra", size), size: size}
	b := transfer{name: "vdb", from: l.image("b", size, "write -q -P 1 0 64M"), to: l.image("small/rb", size), size: size}
	sources := []*server{l.source(a.from, ""), l.source(b.from, "")}
	targets := []*server{l.target(a.to), l.target(b.to)}
	s, d := l.documents("", "auto", []transfer{a, b}, sources, targets)
	serve, apply := start(t, session.Serve, s), start(t, session.Apply, d)
	serve.awaitReady()
	apply.awaitReady()
	relay(t, s.Listen, d.Listen)
	apply.failed(spec.KindNoSpace, "vdb")
	serve.last() // it may have sent everything before the target's cache was full
	targets[1].stop()
}

func TestStreamOfAnotherCheckpointWritesNothing(t *testing.T) {
	for what, change := range map[string]func(*spec.Apply){
		"domain":     func(a *spec.Apply) { a.Domain = "vm2" },
		"checkpoint": func(a *spec.Apply) { a.Checkpoint = "cp3" },
		"parent":     func(a *spec.Apply) { a.Parent = "cp1" },
		"disk":       func(a *spec.Apply) { a.Disks[0].Name = "vdz" },
		"kind":       func(a *spec.Apply) { a.Parent = "cp1"; a.Disks[0].Incremental = true },
	} {
		t.Run(what, func(t *testing.T) {
			l := newLab(t)
			x := transfer{name: "vda", from: l.image("src", mib, "write -q -P 1 0 1M"), to: l.image("dst", mib), size: mib}
			target := l.target(x.to)
			s, a := l.documents("", "auto", []transfer{x}, []*server{l.source(x.from, "")}, []*server{target})
			change(&a)
			serve, apply := start(t, session.Serve, s), start(t, session.Apply, a)
			serve.awaitReady()
			apply.awaitReady()
			relay(t, s.Listen, a.Listen)
			apply.failed(spec.KindMismatch, "")
			serve.last() // a stream this small may have left it whole
			target.stop()
			l.same(x.to, l.image("empty", mib))
		})
	}
}

func TestWrongExportIsRefusedBeforeReady(t *testing.T) {
	l := newLab(t)
	good := spec.ServeDisk{Name: "vda", Socket: l.source(l.image("src", mib), "").socket, Export: "disk", Size: mib}
	for name, change := range map[string]func(*spec.ServeDisk){
		"other size":     func(d *spec.ServeDisk) { d.Size = mib + 512 },
		"missing bitmap": func(d *spec.ServeDisk) { d.Bitmap = "b0" },
		"missing export": func(d *spec.ServeDisk) { d.Export = "other" },
		"missing socket": func(d *spec.ServeDisk) { d.Socket = l.path("nothing") },
	} {
		d := good
		change(&d)
		p := start(t, session.Serve, spec.Serve{
			Version: spec.Version, Domain: "d", Checkpoint: "c", Parent: "p", Listen: l.path("listen"), Disks: []spec.ServeDisk{d},
		})
		p.failed(spec.KindExport, "vda")
		if len(p.events) != 1 {
			t.Errorf("%s: %d events", name, len(p.events))
		}
	}
}

func TestWrongTargetIsRefusedBeforeReady(t *testing.T) {
	l := newLab(t)
	img := l.image("dst", mib)
	writable, readonly := l.target(img), l.source(l.image("ro", mib), "")
	for name, d := range map[string]spec.ApplyDisk{
		"other size":     {Socket: writable.socket, Export: "disk", Size: mib - 512},
		"read-only":      {Socket: readonly.socket, Export: "disk", Size: mib},
		"missing export": {Socket: writable.socket, Export: "other", Size: mib},
		"missing socket": {Socket: l.path("nothing"), Export: "disk", Size: mib},
	} {
		d.Name = "vda"
		p := start(t, session.Apply, spec.Apply{
			Version: spec.Version, Domain: "d", Checkpoint: "c", Listen: l.path("listen"), Disks: []spec.ApplyDisk{d},
		})
		p.failed(spec.KindTarget, "vda")
		if len(p.events) != 1 {
			t.Errorf("%s: %d events", name, len(p.events))
		}
	}
}

// feeder starts apply for an empty disk of one MiB and returns a connection to it.
func feeder(t *testing.T) (*process, *net.UnixConn) {
	t.Helper()
	l := newLab(t)
	a := spec.Apply{
		Version: spec.Version, Domain: "vm1", Checkpoint: "cp2", Listen: l.path("apply.sock"),
		Disks: []spec.ApplyDisk{{Name: "vda", Socket: l.target(l.image("dst", mib)).socket, Export: "disk", Size: mib}},
	}
	p := start(t, session.Apply, a)
	p.awaitReady()
	c := dial(t, a.Listen)
	t.Cleanup(func() { _ = c.Close() })
	return p, c
}

func TestGarbageIsNoStream(t *testing.T) {
	p, c := feeder(t)
	_, _ = io.WriteString(c, strings.Repeat("GET / HTTP/1.1\r\n", 10))
	p.failed(spec.KindStream, "")
}

func TestBytesAfterTheEndMarkAreRefused(t *testing.T) {
	p, c := feeder(t)
	_, _ = c.Write(append(smallStream(t), 0))
	_ = c.CloseWrite()
	p.failed(spec.KindStream, "")
}

func TestStreamWithoutEndMarkIsRefused(t *testing.T) {
	p, c := feeder(t)
	b := smallStream(t)
	_, _ = c.Write(b[:len(b)-1])
	_ = c.CloseWrite()
	p.failed(spec.KindPeer, "")
}

func TestSmallStreamIsApplied(t *testing.T) {
	p, c := feeder(t)
	_, _ = c.Write(smallStream(t))
	_ = c.CloseWrite()
	if d := p.done().Disks[0]; d.DataBytes != 512 || d.ZeroBytes != mib-512 {
		t.Errorf("%+v", d)
	}
}
