package session_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"vmsync/nbdproxy/session"
	"vmsync/nbdproxy/spec"
	"vmsync/nbdproxy/stream"
)

// smallStream is a stream for feeder's disk.
func smallStream(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	e, err := stream.NewEncoder(stream.Header{
		Domain: "vm1", Checkpoint: "cp2", Disks: []stream.Disk{{Name: "vda", Size: mib}},
	}, spec.Compression{}, &b)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Data(0, []stream.Extent{{Offset: 0, Length: 512}}, bytes.Repeat([]byte{7}, 512)); err != nil {
		t.Fatal(err)
	}
	if err := e.Zero(0, []stream.Extent{{Offset: 512, Length: mib - 512}}); err != nil {
		t.Fatal(err)
	}
	if _, err := e.EndDisk(0); err != nil {
		t.Fatal(err)
	}
	if err := e.End(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// serveDocument describes a disk of one MiB that is served.
func serveDocument(l *lab) spec.Serve {
	l.t.Helper()
	return spec.Serve{
		Version: spec.Version, Domain: "d", Checkpoint: "c", Listen: l.path("listen"),
		Disks: []spec.ServeDisk{{Name: "vda", Socket: l.source(l.image("src", mib), "").socket, Export: "disk", Size: mib}},
	}
}

func TestWrongDocumentIsRefused(t *testing.T) {
	ok := `{"version":3,"domain":"d","checkpoint":"c","listen":"/l","disks":[{"name":"vda","socket":"/s","export":"e","size":1}]}`
	edit := func(old, new string) string { return strings.Replace(ok, old, new, 1) + "\n" }
	for name, doc := range map[string]string{
		"no newline":       ok,
		"no JSON":          "serve\n",
		"other version":    edit(`"version":3`, `"version":4`),
		"no version":       edit(`"version":3,`, ``),
		"unknown field":    edit(`{"version":3`, `{"speed":9,"version":3`),
		"two documents":    edit(`}]}`, `}]}{}`),
		"no domain":        edit(`"domain":"d",`, ``),
		"no disks":         edit(`{"name":"vda","socket":"/s","export":"e","size":1}`, ``),
		"negative size":    edit(`"size":1`, `"size":-1`),
		"relative listen":  edit(`"/l"`, `"l"`),
		"relative socket":  edit(`"/s"`, `"s"`),
		"endless document": strings.Repeat(" ", 2<<20) + ok + "\n",
	} {
		for _, f := range []func(context.Context, session.IO) error{session.Serve, session.Apply} {
			var out bytes.Buffer
			err := f(t.Context(), session.IO{In: strings.NewReader(doc), Out: &out, Log: slog.New(slog.DiscardHandler)})
			var ev spec.Event
			if jerr := json.Unmarshal(out.Bytes(), &ev); jerr != nil || err == nil || ev.Error == nil || ev.Error.Kind != spec.KindSpec {
				t.Errorf("%s: error %v, output %s", name, err, out.String())
			}
		}
	}
}

func TestClosedStdinStops(t *testing.T) {
	t.Run("before the document", func(t *testing.T) {
		var out bytes.Buffer
		err := session.Serve(t.Context(), session.IO{In: strings.NewReader(""), Out: &out, Log: slog.New(slog.DiscardHandler)})
		if err == nil || !strings.Contains(out.String(), `"kind":"stopped"`) {
			t.Errorf("error %v, output %s", err, out.String())
		}
	})
	t.Run("while it waits for a client", func(t *testing.T) {
		l := newLab(t)
		doc := serveDocument(l)
		p := start(t, session.Serve, doc)
		p.awaitReady()
		_ = p.stdin.Close()
		p.failed(spec.KindStopped, "")
		if _, err := os.Lstat(doc.Listen); !os.IsNotExist(err) {
			t.Errorf("the socket stays: %v", err)
		}
	})
}

func TestSocketIsForOneClientOfOneUser(t *testing.T) {
	l := newLab(t)
	doc := serveDocument(l)
	p := start(t, session.Serve, doc)
	p.awaitReady()
	st, err := os.Stat(doc.Listen)
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, error %v", st.Mode(), err)
	}
	first := dial(t, doc.Listen)
	if _, err := io.ReadFull(first, make([]byte, 8)); err != nil {
		t.Fatal(err)
	}
	if c, err := net.Dial("unix", doc.Listen); err == nil {
		if n, err := c.Read(make([]byte, 1)); n > 0 || err == nil {
			t.Error("a second client was served")
		}
		_ = c.Close()
	}
	if _, err := io.Copy(io.Discard, first); err != nil {
		t.Fatal(err)
	}
	_ = first.Close()
	p.done()
}

func TestReceiverThatSpeaksIsRefused(t *testing.T) {
	l := newLab(t)
	doc := serveDocument(l)
	p := start(t, session.Serve, doc)
	p.awaitReady()
	c := dial(t, doc.Listen)
	defer c.Close()
	_, _ = io.WriteString(c, "hello")
	p.failed(spec.KindPeer, "")
}

func TestOnlyStaleSocketsAreReplaced(t *testing.T) {
	l := newLab(t)
	doc := serveDocument(l)
	run := func() *process { return start(t, session.Serve, doc) }

	if err := os.WriteFile(doc.Listen, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	run().failed(spec.KindSpec, "")
	if b, err := os.ReadFile(doc.Listen); err != nil || string(b) != "precious" {
		t.Errorf("the file was touched: %q, %v", b, err)
	}
	_ = os.Remove(doc.Listen)

	other, err := net.Listen("unix", doc.Listen)
	if err != nil {
		t.Fatal(err)
	}
	run().failed(spec.KindSpec, "")
	other.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = other.Close()
	p := run()
	p.awaitReady()
	_ = p.stdin.Close()
	p.failed(spec.KindStopped, "")
}

// binary builds vmsync-nbd.
func binary(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "vmsync-nbd")
	out, err := exec.Command("go", "build", "-o", path, "vmsync/cmd/vmsync-nbd").CombinedOutput()
	if err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return path
}

func TestProgramEndsOnSignalsAndKills(t *testing.T) {
	bin := binary(t)
	l := newLab(t)
	doc := serveDocument(l)
	line, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGKILL} {
		cmd := exec.Command(bin, "serve")
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := in.Write(append(line, '\n')); err != nil {
			t.Fatal(err)
		}
		events := json.NewDecoder(out)
		var ev spec.Event
		if err := events.Decode(&ev); err != nil || ev.Event != spec.EventReady {
			t.Fatalf("%v: event %+v, error %v", sig, ev, err)
		}
		// After SIGKILL the socket stays; the next round has to cope with it.
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		err = events.Decode(&ev)
		if sig != syscall.SIGKILL && (err != nil || ev.Error == nil || ev.Error.Kind != spec.KindStopped) {
			t.Errorf("%v: event %+v, error %v", sig, ev, err)
		}
		if err := cmd.Wait(); err == nil {
			t.Errorf("%v: exit 0", sig)
		}
	}
	p := start(t, session.Serve, doc)
	p.awaitReady()
}
