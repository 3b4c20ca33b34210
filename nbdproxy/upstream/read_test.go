package upstream_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"vmsync/nbdproxy/nbdconn"
	"vmsync/nbdproxy/nbdtest"
	"vmsync/nbdproxy/upstream"
)

func TestManyReadersGetTheirOwnBytes(t *testing.T) {
	path, content := nbdtest.Noise(t, 16*mib)
	for name, s := range map[string]*nbdtest.Server{
		"several connections": nbdtest.ServeImage(t, path, "-r"),
		"one connection":      nbdtest.Serve(t, "-r", "-f", "qcow2", path),
	} {
		t.Run(name, func(t *testing.T) {
			b := dial(t, s, "")
			if n, err := b.Size(); n != int64(len(content)) || err != nil {
				t.Fatalf("size %d, error %v", n, err)
			}
			var wg sync.WaitGroup
			for i := range uint64(64) {
				wg.Go(func() {
					rng := rand.New(rand.NewPCG(1, i))
					for range 20 {
						p := make([]byte, 1+rng.IntN(1<<uint(rng.IntN(21))))
						off := rng.IntN(len(content) - len(p))
						if n, err := b.ReadAt(p, int64(off)); n != len(p) || err != nil {
							t.Errorf("read %d, error %v", n, err)
						}
						if !bytes.Equal(p, content[off:off+len(p)]) {
							t.Errorf("%d bytes at %d are wrong", len(p), off)
						}
					}
				})
			}
			wg.Wait()
		})
	}
}

func TestServerOnTCPIsReached(t *testing.T) {
	path, content := nbdtest.Noise(t, mib)
	s := nbdtest.ServeImage(t, path, "-r")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go nbdtest.Forward(l, s.Socket)
	c, err := upstream.ParseURI("nbd://" + l.Addr().String() + "/disk")
	if err != nil {
		t.Fatal(err)
	}
	b, err := upstream.Dial(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	p := make([]byte, mib)
	if _, err := b.ReadAt(p, 0); err != nil || !bytes.Equal(p, content) {
		t.Errorf("error %v", err)
	}
}

// failing serves an image of which one MiB at one MiB cannot be read or written: with errno.
func failing(t *testing.T, errno unix.Errno) *nbdtest.Server {
	t.Helper()
	path, _ := nbdtest.Noise(t, 8*mib)
	rule := strings.NewReplacer("PATH", path, "ERRNO", itoa(int64(errno))).Replace(
		"driver=raw,offset=0,size=8388608,file.driver=blkdebug,file.image.driver=qcow2,file.image.file.driver=file,file.image.file.filename=PATH")
	for i := range 2 {
		p := ",file.inject-error." + itoa(int64(i))
		rule += p + ".event=none" + p + ".iotype=" + []string{"read", "write"}[i] + p + ".errno=" + itoa(int64(errno)) + p + ".sector=" + itoa(mib/512) + p + ".once=off"
	}
	return nbdtest.Serve(t, "-e", "8", "--image-opts", rule)
}

func TestFailedRequestFailsAloneWithTheServersErrno(t *testing.T) {
	for _, errno := range []unix.Errno{unix.EIO, unix.ENOSPC, unix.EPERM, unix.ENOMEM} {
		b := dial(t, failing(t, errno), "")
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				p := make([]byte, 64*kib)
				var got unix.Errno
				if _, err := b.ReadAt(p, mib); !errors.As(err, &got) || got != errno {
					t.Errorf("read: %v; want %v", err, errno)
				}
				if _, err := b.WriteAt(p, mib); !errors.As(err, &got) || got != errno {
					t.Errorf("write: %v; want %v", err, errno)
				}
				if _, err := b.ReadAt(p, 2*mib); err != nil {
					t.Errorf("read beside it: %v", err)
				}
			})
		}
		wg.Wait()
		if err := b.Err(); err != nil {
			t.Errorf("the backend died: %v", err)
		}
	}
}

func TestLostServerEndsEveryRequest(t *testing.T) {
	path, _ := nbdtest.Noise(t, 8*mib)
	s := nbdtest.ServeImage(t, path, "-r")
	b := dial(t, s, "")
	s.Signal(t, syscall.SIGSTOP)
	errs := make(chan error)
	for range 64 {
		go func() {
			_, err := b.ReadAt(make([]byte, mib), 0)
			errs <- err
		}()
	}
	s.Signal(t, syscall.SIGKILL)
	for range 64 {
		if err := <-errs; !errors.Is(err, nbdconn.ErrDead) {
			t.Errorf("error %v", err)
		}
	}
	nbdtest.Await(t, "end of the backend", b.Done())
	if err := b.Err(); !errors.Is(err, nbdconn.ErrDead) || !strings.Contains(err.Error(), s.Socket) {
		t.Errorf("reason %v", err)
	}
	if _, err := b.ReadAt(make([]byte, 1), 0); !errors.Is(err, nbdconn.ErrDead) {
		t.Errorf("read afterwards: %v", err)
	}
}

func TestCloseEndsRequests(t *testing.T) {
	path, _ := nbdtest.Noise(t, mib)
	s := nbdtest.ServeImage(t, path, "-r")
	b, err := upstream.Dial(t.Context(), upstream.Config{Socket: s.Socket, Export: "disk", Conns: 4})
	if err != nil {
		t.Fatal(err)
	}
	s.Signal(t, syscall.SIGSTOP)
	errs := make(chan error)
	for range 4 {
		go func() {
			_, err := b.ReadAt(make([]byte, mib), 0)
			errs <- err
		}()
	}
	b.Close()
	for range 4 {
		if err := <-errs; err == nil {
			t.Error("a read that was never answered succeeded")
		}
	}
	s.Signal(t, syscall.SIGCONT)
}

func TestExportThatIsNotThereIsRefused(t *testing.T) {
	path, _ := nbdtest.Noise(t, mib)
	s := nbdtest.ServeImage(t, path, "-r")
	for name, c := range map[string]upstream.Config{
		"other name":  {Socket: s.Socket, Export: "other"},
		"no bitmap":   {Socket: s.Socket, Export: "disk", Bitmap: "backup-vda"},
		"no server":   {Socket: s.Socket + "x", Export: "disk"},
		"no NBD port": {Address: "127.0.0.1:1", Export: "disk"},
	} {
		b, err := upstream.Dial(t.Context(), c)
		if err == nil {
			b.Close()
			t.Errorf("%s: no error", name)
		} else if !strings.Contains(err.Error(), c.Export) {
			t.Errorf("%s: the error does not name the export: %v", name, err)
		}
	}
}
