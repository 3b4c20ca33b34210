package image

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"testing"
)

func heap() int64 {
	runtime.GC()
	runtime.GC() // what pools held goes with the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestMemoryIsBounded reads all over images that need more than the cache has room for.
func TestMemoryIsBounded(t *testing.T) {
	const size, limit = 48 * mib, 2 * mib
	dir := t.TempDir()
	half(t, filepath.Join(dir, "raw"), size)
	runIn(t, dir, "qemu-img", "convert", "-t", "unsafe", "-c", "-f", "raw", "-O", "qcow2", "raw", "packed")
	top := create(t, dir, "top", size, over("packed", "qcow2")+",cluster_size=512")
	commands := []string{}
	for at := 0; at < size; at += size / 300 {
		commands = append(commands, fmt.Sprintf("write -q -P 3 %d 512", at&^511))
	}
	write(t, top, commands...)
	before := heap()
	c := NewCache(limit)
	i := open(t, top, c)
	buf := make([]byte, 4096)
	for n := range 8000 {
		if _, err := i.ReadAt(buf, rand.Int64N(size-4096)); err != nil {
			t.Fatal(err)
		}
		if held := c.Stats().Bytes; held > limit {
			t.Fatalf("%d bytes held after %d reads", held, n)
		}
	}
	if held := c.Stats().Bytes; held < limit*9/10 {
		t.Errorf("only %d bytes held: the test proves nothing", held)
	}
	if grown := heap() - before; grown > limit*11/10+64*kib {
		t.Errorf("the heap grew by %d bytes, the cache says %d", grown, c.Stats().Bytes)
	}
	runtime.KeepAlive(c)
}
