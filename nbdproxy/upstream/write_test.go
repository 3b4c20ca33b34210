package upstream_test

import (
	"bytes"
	"errors"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"vmsync/nbdproxy/nbdtest"
)

func TestWritesZerosAndTrimsArriveAndLast(t *testing.T) {
	path, content := nbdtest.Noise(t, 8*mib)
	s := nbdtest.ServeImage(t, path, "--discard=unmap", "--detect-zeroes=off")
	b := dial(t, s, "")
	want := bytes.Clone(content)
	copy(want[mib:], bytes.Repeat([]byte{0x5a}, 300))
	clear(want[2*mib : 2*mib+100000])
	clear(want[4*mib : 5*mib])
	if n, err := b.WriteAt(want[mib:mib+300], mib); n != 300 || err != nil {
		t.Fatalf("wrote %d, error %v", n, err)
	}
	for name, err := range map[string]error{
		"zero":  b.WriteZeroes(t.Context(), 2*mib, 100000, false, false),
		"trim":  b.Trim(t.Context(), 4*mib, mib),
		"cache": b.Cache(t.Context(), 0, 8*mib),
		"sync":  b.Sync(),
	} {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	got := make([]byte, len(want))
	if _, err := b.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
		t.Errorf("read back something else, error %v", err)
	}
	// Flushed, so not even a crash of the server takes it back.
	s.Signal(t, syscall.SIGKILL)
	<-s.Ended
	after := dial(t, nbdtest.ServeImage(t, path, "-r"), "")
	if _, err := after.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
		t.Errorf("after a crash there is something else, error %v", err)
	}
}

func TestReadOnlyServerRefusesWrites(t *testing.T) {
	path, _ := nbdtest.Noise(t, mib)
	b := dial(t, nbdtest.ServeImage(t, path, "-r"), "")
	var errno unix.Errno
	if _, err := b.WriteAt([]byte{1}, 0); !errors.As(err, &errno) || errno != unix.EPERM {
		t.Errorf("write: %v", err)
	}
	if _, err := b.ReadAt(make([]byte, 1), 0); err != nil {
		t.Errorf("read after it: %v", err)
	}
}

// A server that stops reading fills the socket, and requests have to wait for room
// without being in the way of one another.
func TestRequestsWaitForAServerThatIsSlow(t *testing.T) {
	path := nbdtest.Image(t, 64*mib)
	s := nbdtest.ServeImage(t, path)
	b := dial(t, s, "")
	s.Signal(t, syscall.SIGSTOP)
	var started, ended sync.WaitGroup
	for i := range int64(64) {
		started.Add(1)
		ended.Go(func() {
			p := bytes.Repeat([]byte{byte(i + 1)}, int(mib))
			started.Done()
			if _, err := b.WriteAt(p, i*mib); err != nil {
				t.Errorf("write %d: %v", i, err)
			}
		})
	}
	started.Wait()
	s.Signal(t, syscall.SIGCONT)
	ended.Wait()
	p := make([]byte, mib)
	for i := range int64(64) {
		if _, err := b.ReadAt(p, i*mib); err != nil || !bytes.Equal(p, bytes.Repeat([]byte{byte(i + 1)}, int(mib))) {
			t.Fatalf("MiB %d is wrong, error %v", i, err)
		}
	}
}

func TestPartsOfClustersAreZeroedAsDataAndNotFast(t *testing.T) {
	const size = mib + 512
	path := nbdtest.Image(t, size, "write -P 5 0 1M")
	b := dial(t, nbdtest.ServeImage(t, path, "--discard=unmap", "--detect-zeroes=off"), "")
	want := append(bytes.Repeat([]byte{5}, int(mib)), make([]byte, 512)...)
	for _, r := range []struct {
		offset, length int64
		whole          bool
	}{{4096, 4096, false}, {60 * kib, 8 * kib, false}, {130 * kib, 200 * kib, false}, {384 * kib, 64 * kib, true}, {960 * kib, 64*kib + 512, true}, {mib, 512, true}, {mib + 1, 511, false}} {
		if err := b.WriteZeroes(t.Context(), r.offset, r.length, true, true); !r.whole && !errors.Is(err, unix.ENOTSUP) {
			t.Errorf("%+v, fast: %v", r, err)
		}
		if err := b.WriteZeroes(t.Context(), r.offset, r.length, true, false); err != nil {
			t.Errorf("%+v: %v", r, err)
		}
		clear(want[r.offset : r.offset+r.length])
	}
	got := make([]byte, size)
	if _, err := b.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
		t.Errorf("it reads as something else, error %v", err)
	}
}
