package libvirt

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	lv "libvirt.org/go/libvirt"
)

// testDriver connects to the libvirt library's own driver for tests, which has no daemon.
func testDriver() (*lv.Connect, error) { return lv.NewConnect("test:///default") }

// opened is a connection whose calls may take so long.
func opened(t *testing.T, limit time.Duration) *Conn {
	t.Helper()
	c := &Conn{connect: testDriver, limit: limit}
	if err := c.open(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// soon fails where f takes longer than the patience of Close.
func soon(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(closeFor + 5*time.Second):
		t.Fatalf("%s hangs", what)
	}
}

func TestCallThatHangsIsGivenUp(t *testing.T) {
	c := opened(t, 100*time.Millisecond)
	release := make(chan struct{})
	defer close(release)
	_, err := call(t.Context(), c, "look at it", "vm1", again, func(*lv.Connect) (int, error) {
		<-release
		return 0, nil
	})
	if !errors.Is(err, ErrDisconnected) || !strings.Contains(err.Error(), "look at it") || !strings.Contains(err.Error(), "vm1") ||
		!strings.Contains(err.Error(), "has not answered for 100ms: libvirtd there, or the domain's qemu, hangs") {
		t.Errorf("got %v", err)
	}
	soon(t, "Close", c.Close)
}

func TestContextEndsABlockedCall(t *testing.T) {
	c := opened(t, time.Minute)
	release := make(chan struct{})
	defer close(release)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	_, err := call(ctx, c, "look at it", "vm1", again, func(*lv.Connect) (int, error) {
		<-release
		return 0, nil
	})
	if !errors.Is(err, context.Canceled) || errors.Is(err, ErrDisconnected) {
		t.Errorf("got %v", err)
	}
}

// TestConnectionThatComesTooLateIsClosed has a libvirtd that lets nobody in until who
// came has given up.
func TestConnectionThatComesTooLateIsClosed(t *testing.T) {
	release, came := make(chan struct{}), make(chan *lv.Connect, 1)
	c := &Conn{limit: 100 * time.Millisecond, connect: func() (*lv.Connect, error) {
		<-release
		raw, err := testDriver()
		if err == nil {
			err = raw.Ref() // the test's own
			came <- raw
		}
		return raw, err
	}}
	if err := c.open(t.Context()); !errors.Is(err, ErrDisconnected) || !strings.Contains(err.Error(), "has not answered") {
		t.Errorf("got %v", err)
	}
	close(release)
	raw := <-came
	c.opening.Lock() // the attempt has ended
	defer c.opening.Unlock()
	if left, err := raw.Close(); err != nil || left != 0 {
		t.Errorf("somebody else keeps it open: %v", err)
	}
}

// TestReopeningThatHangsHoldsUpNobody has libvirtd go away, and hang when it is back.
func TestReopeningThatHangsHoldsUpNobody(t *testing.T) {
	c := opened(t, 200*time.Millisecond)
	release := make(chan struct{})
	c.connect = func() (*lv.Connect, error) {
		<-release
		return testDriver()
	}
	c.mu.Lock()
	drop(c.raw)
	c.raw = nil
	c.mu.Unlock()
	for range 2 {
		soon(t, "a call", func() {
			if _, err := c.Host(t.Context()); !errors.Is(err, ErrDisconnected) || !strings.Contains(err.Error(), "has not answered") {
				t.Errorf("got %v", err)
			}
		})
	}
	soon(t, "Close", c.Close)
	close(release)
	if _, err := c.Host(t.Context()); !errors.Is(err, ErrDisconnected) {
		t.Errorf("after Close: got %v", err)
	}
}

func TestClosedConnectionStaysClosed(t *testing.T) {
	c := opened(t, time.Minute)
	if _, err := c.Lookup(t.Context(), "test"); err != nil {
		t.Fatal(err)
	}
	c.Close()
	c.Close()
	if _, err := c.Host(t.Context()); !errors.Is(err, ErrDisconnected) {
		t.Errorf("got %v", err)
	}
}
