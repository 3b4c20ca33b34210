package remote

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"vmsync/nbdproxy/spec"
	"vmsync/nbdproxy/stream"
	"vmsync/replicator"
)

// sockets returns the two ends of a connection through a unix socket.
func sockets(t *testing.T) (a, b *net.UnixConn) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "s"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if a, err = net.DialUnix("unix", nil, l.Addr().(*net.UnixAddr)); err != nil {
		t.Fatal(err)
	}
	if b, err = l.AcceptUnix(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

func file(t *testing.T, content []byte) *os.File {
	t.Helper()
	name := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func outlet(t *testing.T, f *os.File) *Outlet {
	t.Helper()
	o, err := NewOutlet(f)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestOutletTakesTheWholeStreamBeforeItSaysSo(t *testing.T) {
	content := bytes.Repeat([]byte("stream"), 200_000)
	for _, to := range []string{"file", "pipe"} {
		t.Run(to, func(t *testing.T) {
			sender, conn := sockets(t)
			f := file(t, nil)
			read := func() []byte { b, _ := os.ReadFile(f.Name()); return b }
			if to == "pipe" {
				r, w := pipe(t)
				all := make(chan []byte, 1)
				go func() { b, _ := io.ReadAll(r); all <- b }()
				f, read = w, func() []byte { w.Close(); return <-all }
			}
			o := outlet(t, f)
			go func() { _, _ = sender.Write(content); _ = sender.CloseWrite() }()
			if n, err := o.take(t.Context(), conn); err != nil || n != int64(len(content)) {
				t.Fatalf("%d bytes, %v", n, err)
			}
			if _, err := sender.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("the sender is told %v", err)
			}
			if got := read(); !bytes.Equal(got, content) {
				t.Errorf("%d bytes arrived of %d", len(got), len(content))
			}
		})
	}
}

func TestOutletThatCannotBeWrittenSaysWhy(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	r, closed := pipe(t)
	r.Close()
	for kind, f := range map[string]*os.File{replicator.KindNoSpace: full, replicator.KindOutput: closed} {
		sender, conn := sockets(t)
		go func() { _, _ = sender.Write(make([]byte, 1000)) }()
		if _, err := outlet(t, f).take(t.Context(), conn); replicator.KindOf(err) != kind {
			t.Errorf("%s: %v", kind, err)
		}
		if _, err := sender.Read(make([]byte, 1)); err == nil {
			t.Errorf("%s: the sender is not told", kind)
		}
	}
}

func TestOutletThatNobodyReadsIsGivenUp(t *testing.T) {
	_, w := pipe(t)
	sender, conn := sockets(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("interrupted")
	go func() {
		_, _ = sender.Write(make([]byte, 4<<20)) // more than all buffers take
	}()
	time.AfterFunc(100*time.Millisecond, func() { cancel(why) })
	if _, err := outlet(t, w).take(ctx, conn); !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
}

func TestOutletRefusesWhatKeepsNoStream(t *testing.T) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for name, f := range map[string]*os.File{"/dev/null": null, "file with content": file(t, []byte("x")), "terminal": terminal(t)} {
		if _, err := NewOutlet(f); replicator.KindOf(err) != replicator.KindUsage {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func terminal(t *testing.T) *os.File {
	t.Helper()
	f, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// sample is a stream's header and something behind it.
func sample(t *testing.T) (whole []byte, header stream.Header) {
	t.Helper()
	header = stream.Header{Domain: "vm1", Checkpoint: "c", Disks: []stream.Disk{{Name: "vda", Size: 512}}}
	var b bytes.Buffer
	if _, err := stream.NewEncoder(header, spec.Compression{Mode: spec.ModeNone}, &b); err != nil {
		t.Fatal(err)
	}
	b.Write(bytes.Repeat([]byte("frame"), 100_000))
	return b.Bytes(), header
}

func inlet(t *testing.T, f *os.File) *Inlet {
	t.Helper()
	i, err := NewInlet(f)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func TestInletGivesTheHeaderItHasReadWithTheRest(t *testing.T) {
	whole, header := sample(t)
	i := inlet(t, file(t, whole))
	h, err := i.Header(t.Context())
	if err != nil || h.Domain != header.Domain {
		t.Fatalf("%+v, %v", h, err)
	}
	conn, receiver := sockets(t)
	all := make(chan []byte, 1)
	go func() {
		b, _ := io.ReadAll(receiver)
		all <- b
		receiver.Close()
	}()
	if err := i.give(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	if got := <-all; !bytes.Equal(got, whole) {
		t.Errorf("%d bytes arrived of %d", len(got), len(whole))
	}
}

func TestInletWithoutAStreamIsRefused(t *testing.T) {
	whole, _ := sample(t)
	for name, content := range map[string][]byte{"empty": nil, "cut off": whole[:30], "something else": []byte("PK\x03\x04 and so on, and so forth")} {
		if _, err := inlet(t, file(t, content)).Header(t.Context()); replicator.KindOf(err) != replicator.KindStream {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := NewInlet(terminal(t)); replicator.KindOf(err) != replicator.KindUsage {
		t.Errorf("terminal: %v", err)
	}
	folder, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	if _, err := inlet(t, folder).Header(t.Context()); replicator.KindOf(err) != replicator.KindInput {
		t.Errorf("a folder: %v", err)
	}
}

// stalled is an inlet that has brought its header and some more, and then nothing.
func stalled(t *testing.T) (i *Inlet, brought int64) {
	t.Helper()
	whole, _ := sample(t)
	half := whole[:len(whole)/2]
	r, w := pipe(t)
	i = inlet(t, r)
	go func() { _, _ = w.Write(half) }()
	if _, err := i.Header(t.Context()); err != nil {
		t.Fatal(err)
	}
	return i, int64(len(half))
}

func TestInletThatStallsIsGivenUp(t *testing.T) {
	why := errors.New("interrupted")
	t.Run("before the header", func(t *testing.T) {
		r, _ := pipe(t)
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(why)
		if _, err := inlet(t, r).Header(ctx); !errors.Is(err, why) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("when the receiver is gone", func(t *testing.T) {
		i, _ := stalled(t)
		conn, receiver := sockets(t)
		go func() {
			_, _ = io.CopyN(io.Discard, receiver, 1000)
			receiver.Close()
		}()
		if err := i.give(t.Context(), conn); replicator.KindOf(err) != replicator.KindPeer {
			t.Errorf("got %v", err)
		}
	})
	t.Run("when the user gives up", func(t *testing.T) {
		i, brought := stalled(t)
		conn, receiver := sockets(t)
		ctx, cancel := context.WithCancelCause(t.Context())
		go func() {
			_, _ = io.CopyN(io.Discard, receiver, brought)
			cancel(why)
		}()
		if err := i.give(ctx, conn); !errors.Is(err, why) {
			t.Errorf("got %v", err)
		}
	})
}
