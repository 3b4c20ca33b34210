package offer_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"vmsync/nbdproxy/listen"
	"vmsync/nbdproxy/nbdtest"
	"vmsync/nbdproxy/offer"
	"vmsync/nbdproxy/upstream"
)

// offering is a Run under way.
type offering struct {
	t      *testing.T
	uri    func(export string) string
	cancel context.CancelFunc
	ended  chan struct{}
	err    error
	log    *log
}

// log keeps what was logged.
type log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// start offers exports on a unix socket until the test ends.
func start(t *testing.T, exports ...offer.Export) *offering {
	t.Helper()
	socket := filepath.Join(nbdtest.Folder(t), "s")
	o := &offering{
		t: t, ended: make(chan struct{}), log: &log{},
		uri: func(export string) string { return "nbd+unix:///" + export + "?socket=" + socket },
	}
	ctx, cancel := context.WithCancel(t.Context())
	o.cancel = cancel
	ready := make(chan struct{})
	go func() {
		defer close(o.ended)
		o.err = offer.Run(ctx, offer.Config{Exports: exports, Unix: socket, Log: slog.New(slog.NewTextHandler(o.log, nil))},
			func([]string) error { close(ready); return nil })
	}()
	t.Cleanup(func() { cancel(); <-o.ended })
	select {
	case <-ready:
	case <-o.ended:
		t.Fatal(o.err)
	}
	return o
}

func from(name string, s *nbdtest.Server) offer.Export {
	return offer.Export{Name: name, Upstream: upstream.Config{Socket: s.Socket, Export: "disk"}}
}

// reads tells whether a client can read an export.
func (o *offering) reads(export string) bool {
	return exec.Command("nbdcopy", o.uri(export), "null:").Run() == nil
}

func TestLostServerTakesOnlyItsOwnExport(t *testing.T) {
	image, _ := nbdtest.Noise(t, nbdtest.MiB)
	other, _ := nbdtest.Noise(t, nbdtest.MiB)
	a, b := nbdtest.ServeImage(t, image, "-r"), nbdtest.ServeImage(t, other, "-r")
	o := start(t, from("vda", a), from("vdb", b))
	if !o.reads("vda") || !o.reads("vdb") {
		t.Fatal("cannot read")
	}
	a.Signal(t, syscall.SIGKILL)
	for !strings.Contains(o.log.String(), "vda") {
		select {
		case <-o.ended:
			t.Fatalf("ended with one of two servers: %v", o.err)
		case <-time.After(10 * time.Millisecond):
		}
	}
	if o.reads("vda") || !o.reads("vdb") {
		t.Error("the lost export can be read, or the other one cannot")
	}
	b.Signal(t, syscall.SIGKILL)
	nbdtest.Await(t, "end after the last server", o.ended)
	var lost *offer.Error
	if !errors.As(o.err, &lost) || lost.Export != "vdb" {
		t.Errorf("error %v", o.err)
	}
}

func TestServerThatHangsDoesNotHoldUpTheEnd(t *testing.T) {
	image, _ := nbdtest.Noise(t, nbdtest.MiB)
	s := nbdtest.ServeImage(t, image, "-r")
	o := start(t, from("vda", s))
	s.Signal(t, syscall.SIGSTOP)
	client := exec.Command("nbdcopy", o.uri("vda"), "null:")
	if err := client.Start(); err != nil {
		t.Fatal(err)
	}
	o.cancel()
	nbdtest.Await(t, "end", o.ended)
	if o.err != nil {
		t.Error(o.err)
	}
	if err := client.Wait(); err == nil {
		t.Error("the client was satisfied")
	}
}

func TestOnlyExportsThatAreToBeWritableAre(t *testing.T) {
	s := nbdtest.ServeImage(t, nbdtest.Image(t, nbdtest.MiB))
	open := from("open", s)
	open.Writable = true
	o := start(t, open, from("closed", s))
	write := func(export string) error {
		return exec.Command("qemu-io", "-f", "raw", "-c", "write -P 7 0 512", "-c", "flush", o.uri(export)).Run()
	}
	if err := write("open"); err != nil {
		t.Error(err)
	}
	if err := write("closed"); err == nil {
		t.Error("a write to a read-only export was taken")
	}
	nbdtest.Run(t, "qemu-io", "-f", "raw", "-r", "-c", "read -P 7 0 512", o.uri("closed"))
}

func TestNothingIsOfferedThatIsNotAsExpected(t *testing.T) {
	image, _ := nbdtest.Noise(t, nbdtest.MiB)
	s := nbdtest.ServeImage(t, image, "-r")
	wrongSize, missing := from("vda", s), from("vda", s)
	wrongSize.Size = 2 * nbdtest.MiB
	missing.Upstream.Export = "other"
	notWritable := from("vda", s)
	notWritable.Writable = true
	unix := filepath.Join(nbdtest.Folder(t), "s")
	var lost *offer.Error
	for name, c := range map[string]struct {
		config offer.Config
		as     func(error) bool
	}{
		"wrong size":          {offer.Config{Exports: []offer.Export{wrongSize}, Unix: unix}, func(err error) bool { return errors.As(err, &lost) && lost.Export == "vda" }},
		"missing export":      {offer.Config{Exports: []offer.Export{missing}, Unix: unix}, func(err error) bool { return errors.As(err, &lost) && lost.Export == "vda" }},
		"read-only server":    {offer.Config{Exports: []offer.Export{notWritable}, Unix: unix}, mentions("read-only")},
		"missing folder":      {offer.Config{Exports: []offer.Export{from("vda", s)}, Unix: "/nonexistent/s"}, func(err error) bool { return errors.Is(err, listen.ErrPath) }},
		"nowhere to listen":   {offer.Config{Exports: []offer.Export{from("vda", s)}}, mentions("listen")},
		"the same name twice": {offer.Config{Exports: []offer.Export{from("vda", s), from("vda", s)}, Unix: unix}, mentions("taken")},
		"no TLS":              {offer.Config{Exports: []offer.Export{from("vda", s)}, TCP: "0.0.0.0:0"}, mentions("server-cert.pem")},
		"no certificates":     {offer.Config{Exports: []offer.Export{from("vda", s)}, TCP: "127.0.0.1:0", TLS: "/nonexistent"}, mentions("/nonexistent/ca-cert.pem")},
	} {
		c.config.Log = slog.New(slog.DiscardHandler)
		err := offer.Run(t.Context(), c.config, func([]string) error { return errors.New("it listened") })
		if err == nil || !c.as(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func mentions(what string) func(error) bool {
	return func(err error) bool { return strings.Contains(err.Error(), what) }
}
