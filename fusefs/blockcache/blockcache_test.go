package blockcache

import (
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

// put loads a value that counts for size bytes in all.
func put(t *testing.T, c *Cache[int, int], key int, size int64) {
	t.Helper()
	v, err := c.Load(key, func() (int, int64, error) { return key * 10, size - EntryBytes, nil })
	if err != nil || v != key*10 {
		t.Fatalf("loading %d: %d, %v", key, v, err)
	}
}

func TestLeastRecentlyUsedGoesFirst(t *testing.T) {
	c := New[int, int](3000)
	for key := range 3 {
		put(t, c, key, 1000)
	}
	if v, found := c.Lookup(0); !found || v != 0 {
		t.Fatal(v, found)
	}
	put(t, c, 1, 1000) // is there already
	put(t, c, 3, 1000)
	for key, want := range []bool{true, true, false, true} {
		if _, found := c.Lookup(key); found != want {
			t.Errorf("%d is there: %v", key, found)
		}
	}
	if s := c.Stats(); s != (Stats{Bytes: 3000, Limit: 3000, Hits: 5, Misses: 4}) {
		t.Errorf("%+v", s)
	}
}

func TestLargeValuesAndFailuresAreNotKept(t *testing.T) {
	c := New[int, int](1000)
	put(t, c, 1, 400)
	put(t, c, 2, 1001)
	failure := errors.New("failure")
	for range 2 {
		if _, err := c.Load(3, func() (int, int64, error) { return 0, 1, failure }); err != failure {
			t.Error(err)
		}
	}
	if s := c.Stats(); s.Bytes != 400 || s.Misses != 4 {
		t.Errorf("%+v", s)
	}
	if _, found := c.Lookup(1); !found {
		t.Error("what fits was let go")
	}
}

func TestReservedBytesCount(t *testing.T) {
	c := New[int, int](1000)
	put(t, c, 1, 400)
	put(t, c, 2, 400)
	if err := c.Reserve(500); err != nil {
		t.Fatal(err)
	}
	if _, found := c.Lookup(1); found || c.Stats().Bytes != 900 {
		t.Errorf("%+v", c.Stats())
	}
	if err := c.Reserve(501); !errors.Is(err, ErrFull) {
		t.Error(err)
	}
	put(t, c, 3, 501)
	if c.Stats().Bytes != 900 {
		t.Errorf("%+v", c.Stats())
	}
	c.Release(500)
	put(t, c, 3, 600)
	if c.Stats().Bytes != 1000 {
		t.Errorf("%+v", c.Stats())
	}
	c.Drop(func(key int) bool { return key == 2 })
	if c.Stats().Bytes != 600 {
		t.Errorf("%+v", c.Stats())
	}
}

func TestLoadedOnceForAllWhoAsk(t *testing.T) {
	c := New[int, int](1000)
	var loads atomic.Int32
	begin, end := make(chan struct{}), make(chan struct{})
	load := func() (int, int64, error) {
		loads.Add(1)
		close(begin)
		<-end
		return 7, 1, nil
	}
	var group sync.WaitGroup
	group.Go(func() { c.Load(1, load) })
	<-begin
	for range 5 {
		group.Go(func() {
			if v, err := c.Load(1, load); v != 7 || err != nil {
				t.Error(v, err)
			}
		})
	}
	if _, found := c.Lookup(1); found {
		t.Error("found before it was there")
	}
	close(end)
	group.Wait()
	if loads.Load() != 1 {
		t.Errorf("%d loads", loads.Load())
	}
}

func TestDroppedWhileLoading(t *testing.T) {
	c := New[int, int](1000)
	v, err := c.Load(1, func() (int, int64, error) {
		c.Drop(func(int) bool { return true })
		return 7, 1, nil
	})
	if _, found := c.Lookup(1); v != 7 || err != nil || found || c.Stats().Bytes != 0 {
		t.Error(v, err, found, c.Stats())
	}
}

func TestPanicLeavesNobodyWaiting(t *testing.T) {
	c := New[int, int](1000)
	begin, wait := make(chan struct{}), make(chan struct{})
	failed := make(chan error)
	go func() {
		<-begin
		go func() { // waits or comes late, and gets an answer either way
			_, err := c.Load(1, func() (int, int64, error) { return 0, 0, errBroken })
			failed <- err
		}()
		close(wait)
	}()
	func() {
		defer func() { recover() }()
		c.Load(1, func() (int, int64, error) { close(begin); <-wait; panic("load") })
	}()
	if err := <-failed; err != errBroken {
		t.Error(err)
	}
	put(t, c, 1, 300)
}

// TestHeapIsBounded fills a cache with small values, of which the entries are the larger part.
func TestHeapIsBounded(t *testing.T) {
	const limit = 8 << 20
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	type key struct{ owner, index uint64 }
	before := heap()
	c := New[key, []byte](limit)
	for n := range 200_000 {
		size := 16 << rand.IntN(8)
		c.Load(key{1, uint64(n)}, func() ([]byte, int64, error) { return make([]byte, size), int64(size), nil })
	}
	if held := c.Stats().Bytes; held > limit || held < limit*9/10 {
		t.Errorf("%d bytes held", held)
	}
	if grown := heap() - before; grown > limit {
		t.Errorf("the heap grew by %d bytes", grown)
	}
	runtime.KeepAlive(c)
}
