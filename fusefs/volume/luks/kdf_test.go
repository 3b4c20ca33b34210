package luks

import (
	"bytes"
	"runtime"
	"sync"
	"testing"
	"time"
)

// TestManyDevicesTakeTheMemoryOfOne opens eight at once.
func TestManyDevicesTakeTheMemoryOfOne(t *testing.T) {
	const memory = 32 << 20
	k := kdf{kind: "argon2id", salt: make([]byte, 32), iterations: 1, memory: memory >> 10, threads: 1}
	want, err := k.derive([]byte("secret"), 32)
	if err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	done, peak := make(chan struct{}), make(chan uint64)
	go func() {
		most := uint64(0)
		for {
			select {
			case <-done:
				peak <- most
				return
			case <-time.After(time.Millisecond):
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				most = max(most, m.HeapAlloc)
			}
		}
	}()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if got, err := k.derive([]byte("secret"), 32); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%x, %v", got, err)
			}
		})
	}
	all.Wait()
	close(done)
	// What is no longer used may not have been collected yet.
	if most := <-peak; most > 5*memory {
		t.Errorf("%d MiB were in use at once", most>>20)
	}
}
