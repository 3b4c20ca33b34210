package ssh

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"
)

// pooledServer starts a server and a pool.
func pooledServer(t *testing.T, idle time.Duration, extra ...string) (*server, *Pool, Options) {
	t.Helper()
	s := startServer(t, extra...)
	o := clientConfig(t, s.knownHost)
	o.KeyFile = s.userKey
	p := NewPool(idle)
	t.Cleanup(func() { p.Close() })
	return s, p, o
}

func lease(t *testing.T, p *Pool, s *server, o Options, shares int) *Lease {
	t.Helper()
	l, err := p.Lease(t.Context(), s.target(), o, shares)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Release)
	return l
}

func TestPoolSharesAConnectionAndKeepsItForTheNext(t *testing.T) {
	s, p, o := pooledServer(t, time.Hour)
	leases := make([]*Lease, 3)
	var wg sync.WaitGroup
	for i := range leases { // all at once: they wait for the same handshake
		wg.Go(func() { leases[i] = lease(t, p, s, o, 2) })
	}
	wg.Wait()
	different := map[*Client]int{}
	for _, l := range leases {
		works(t, l.Client())
		different[l.Client()]++
	}
	if len(different) != 2 {
		t.Errorf("3 users, 2 to a connection: %v", different)
	}
	first := leases[0].Client()
	for _, l := range leases {
		l.Release()
		l.Release()
	}
	again := lease(t, p, s, o, 2)
	if different[again.Client()] == 0 {
		t.Error("a connection that was idle is not used again")
	}
	works(t, again.Client())
	if alone := lease(t, p, s, o, 1); alone.Client() == first || alone.Client() == again.Client() {
		t.Error("one that wants a connection for itself shares it")
	}
}

func TestPoolClosesWhatNobodyUses(t *testing.T) {
	s, p, o := pooledServer(t, 100*time.Millisecond)
	l := lease(t, p, s, o, 2)
	c := l.Client()
	time.Sleep(300 * time.Millisecond)
	works(t, c) // as long as it is in use
	l.Release()
	select {
	case <-c.Done():
	case <-time.After(5 * time.Second):
		t.Fatal("it is still open")
	}
	works(t, lease(t, p, s, o, 2).Client())
	p.Close()
	if _, err := p.Lease(t.Context(), s.target(), o, 2); !errors.Is(err, net.ErrClosed) {
		t.Errorf("of a closed pool: %v", err)
	}
	for range 100 {
		if len(s.children(t)) == 0 {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Error("the server still serves connections of a closed pool")
}

func TestPoolReplacesALostConnection(t *testing.T) {
	s, p, o := pooledServer(t, time.Hour)
	for name, lose := range map[string]func(pid int) error{
		"its process was killed": func(pid int) error { return syscall.Kill(pid, syscall.SIGKILL) },
		// As with a link that is cut: nobody says that it is gone.
		"it says nothing": func(pid int) error { return syscall.Kill(pid, syscall.SIGSTOP) },
	} {
		t.Run(name, func(t *testing.T) {
			l := lease(t, p, s, o, 2)
			works(t, l.Client())
			old := l.Client()
			l.Release()
			for _, pid := range s.children(t) {
				t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
				if err := lose(pid); err != nil && !errors.Is(err, os.ErrProcessDone) {
					t.Fatal(err)
				}
			}
			start := time.Now()
			l = lease(t, p, s, o, 2)
			if l.Client() == old {
				t.Error("a lost connection was given out again")
			}
			if took := time.Since(start); took > signOfLife+10*time.Second {
				t.Errorf("it took %s to notice", took)
			}
			works(t, l.Client())
			l.Spend()
			if next := lease(t, p, s, o, 2); next.Client() == l.Client() {
				t.Error("a connection with an error was given out again")
			}
			works(t, l.Client()) // who has it may go on
		})
	}
}

func TestPoolTellsWhyThereIsNoConnection(t *testing.T) {
	s, p, o := pooledServer(t, time.Hour)
	wrong := o
	wrong.KnownHostsFile = writeFile(t, t.TempDir()+"/known_hosts", "")
	if _, err := p.Lease(t.Context(), s.target(), wrong, 2); err == nil {
		t.Error("a host that nobody knows was connected to")
	} else if _, ok := errors.AsType[*HostKeyError](err); !ok {
		t.Errorf("%T %v", err, err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("nobody waits")
	cancel(gone)
	if _, err := p.Lease(ctx, s.target(), o, 2); !errors.Is(err, gone) {
		t.Error(err)
	}
	works(t, lease(t, p, s, o, 2).Client())
}

func TestServerThatRefusesASessionIsTold(t *testing.T) {
	s, p, o := pooledServer(t, time.Hour, "MaxSessions 1")
	l := lease(t, p, s, o, 8)
	first, err := l.Client().Command(t.Context(), []string{"cat"})
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if _, err := l.Client().Command(t.Context(), []string{"cat"}); !Refused(err) {
		t.Errorf("%T %v", err, err)
	}
	if Refused(errClosed) {
		t.Error("a closed connection counts as a refusal")
	}
}
