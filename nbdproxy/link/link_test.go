package link

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vmsync/internal/pin"
)

// pair makes n connections, from a sender to a receiver, over TLS or a unix socket.
func pair(t *testing.T, direct bool, n int) (send, receive []*Conn) {
	t.Helper()
	var local *net.UnixListener
	var remote *net.TCPListener
	var server, client *tls.Config
	path := filepath.Join(t.TempDir(), "s")
	var err error
	if direct {
		if remote, err = ListenDirect(t.Context(), []string{"127.0.0.1"}); err == nil {
			server, client = configs(t)
		}
	} else {
		local, err = net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	}
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var acceptErr error
	wg.Go(func() { receive, acceptErr = Accept(t.Context(), n, local, remote, server) })
	if direct {
		send, err = DialDirect(t.Context(), []string{remote.Addr().String()}, client, n)
	} else {
		for range n {
			sock, derr := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
			if derr != nil {
				t.Fatal(derr)
			}
			c, cerr := overUnix(sock)
			send, err = append(send, c), errors.Join(err, cerr)
		}
	}
	wg.Wait()
	if err := errors.Join(err, acceptErr); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { CloseAll(send); CloseAll(receive) })
	return send, receive
}

func configs(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	a, err := pin.New()
	if err != nil {
		t.Fatal(err)
	}
	b, err := pin.New()
	if err != nil {
		t.Fatal(err)
	}
	if server, err = a.Server(b.Certificate); err != nil {
		t.Fatal(err)
	}
	if client, err = b.Client(a.Certificate); err != nil {
		t.Fatal(err)
	}
	return server, client
}

func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

func eachWay(t *testing.T, f func(t *testing.T, direct bool)) {
	t.Run("unix", func(t *testing.T) { f(t, false) })
	t.Run("direct", func(t *testing.T) { f(t, true) })
}

func TestBytesArriveAndEnd(t *testing.T) {
	eachWay(t, func(t *testing.T, direct bool) {
		send, receive := pair(t, direct, 3)
		want := noise(5<<20 + 3)
		var wg sync.WaitGroup
		for i := range send {
			wg.Go(func() {
				for rest := want; len(rest) > 0; {
					n := min(len(rest), 997+i*700_000)
					if _, err := send[i].Write(rest[:n]); err != nil {
						t.Error(err)
					}
					rest = rest[n:]
					if i > 0 || len(rest)%5 == 0 {
						if err := send[i].Flush(); err != nil {
							t.Error(err)
						}
					}
				}
				if err := send[i].CloseWrite(); err != nil {
					t.Error(err)
				}
				if n, err := send[i].Read(make([]byte, 1)); n != 0 || err != io.EOF {
					t.Errorf("the sender read %d bytes, error %v", n, err)
				}
			})
			wg.Go(func() {
				got, err := io.ReadAll(receive[i])
				if err != nil || !bytes.Equal(got, want[:len(got)]) || len(got) != len(want) && i > 0 {
					t.Errorf("connection %d: %d bytes of %d, error %v", i, len(got), len(want), err)
				}
				_ = receive[i].Close()
			})
		}
		wg.Wait()
	})
}

func TestInterruptEndsEveryWait(t *testing.T) {
	eachWay(t, func(t *testing.T, direct bool) {
		send, receive := pair(t, direct, 1)
		var wg sync.WaitGroup
		wg.Go(func() {
			var err error
			for err == nil { // until the other side's buffers are full
				_, err = send[0].Write(make([]byte, 1<<20))
			}
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("Write: %v", err)
			}
		})
		wg.Go(func() {
			if _, err := send[0].Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("Read: %v", err)
			}
		})
		for send[0].wire.raw != nil && !full(t, send[0]) {
			time.Sleep(time.Millisecond)
		}
		send[0].Interrupt()
		wg.Wait()
		if send[0].Stalled() == 0 && !direct {
			t.Log("the writer never had to wait")
		}
		_ = receive
	})
}

// full tells whether the socket takes no more.
func full(t *testing.T, c *Conn) bool {
	t.Helper()
	var n int
	if err := c.wire.raw.Control(func(fd uintptr) {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
		n, _ = unix.Poll(p, 0)
	}); err != nil {
		t.Fatal(err)
	}
	return n == 0
}

func TestWaitingForTheOtherEndIsCounted(t *testing.T) {
	eachWay(t, func(t *testing.T, direct bool) {
		send, receive := pair(t, direct, 1)
		const wait = 50 * time.Millisecond
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := send[0].Write(make([]byte, 64<<20)); err != nil {
				t.Error(err)
			}
			if err := errors.Join(send[0].Flush(), send[0].CloseWrite()); err != nil {
				t.Error(err)
			}
		})
		for !full(t, send[0]) {
			time.Sleep(time.Millisecond)
		}
		time.Sleep(wait)
		if _, err := io.Copy(io.Discard, receive[0]); err != nil {
			t.Error(err)
		}
		wg.Wait()
		if got := send[0].Stalled(); got < wait/2 {
			t.Errorf("the writer waited for at least %v and says %v", wait, got)
		}
	})
}

// TestRateIsNotExceeded can fail on no slow day: it knows a lower bound only.
func TestRateIsNotExceeded(t *testing.T) {
	send, receive := pair(t, false, 2)
	const rate, each = 10_000_000, 1_000_000
	Limit(t.Context(), send, rate)
	var wg sync.WaitGroup
	start := time.Now()
	for i := range send {
		wg.Go(func() {
			if _, err := send[i].Write(make([]byte, each)); err != nil {
				t.Error(err)
			}
			_ = send[i].CloseWrite()
		})
		wg.Go(func() { _, _ = io.Copy(io.Discard, receive[i]) })
	}
	wg.Wait()
	if took, least := time.Since(start), 95*time.Second*2*each/rate/100; took < least {
		t.Errorf("%d bytes at %d per second took %v", 2*each, rate, took)
	}
	if send[0].Stalled()+send[1].Stalled() < 100*time.Millisecond {
		t.Error("waiting for the limit does not count as waiting")
	}
}

func TestLimitEndsWithItsContext(t *testing.T) {
	send, _ := pair(t, false, 1)
	ctx, cancel := context.WithCancelCause(t.Context())
	Limit(ctx, send, 1000)
	why := errors.New("enough")
	time.AfterFunc(20*time.Millisecond, func() { cancel(why) })
	if _, err := send[0].Write(make([]byte, 1<<20)); !errors.Is(err, why) {
		t.Errorf("error %v", err)
	}
}

func TestPortsInUseArePassedOver(t *testing.T) {
	a, err := ListenDirect(t.Context(), []string{"192.0.2.1", "127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b, err := ListenDirect(t.Context(), []string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for _, addresses := range [][]string{nil, {"192.0.2.1"}, {"not an address"}} {
		if l, err := ListenDirect(t.Context(), addresses); err == nil {
			t.Errorf("%q: listens on %v", addresses, l.Addr())
		}
	}
}

func TestAcceptEndsWithItsContext(t *testing.T) {
	remote, err := ListenDirect(t.Context(), []string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	server, _ := configs(t)
	half, err := net.Dial("tcp", remote.Addr().String()) // it never says a word
	if err != nil {
		t.Fatal(err)
	}
	defer half.Close()
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(20*time.Millisecond, func() { cancel(why) })
	if _, err := Accept(ctx, 1, nil, remote, server); !errors.Is(err, why) {
		t.Errorf("error %v", err)
	}
	if c, err := net.Dial("tcp", remote.Addr().String()); err == nil {
		_ = c.Close()
		t.Error("it still listens")
	}
}
