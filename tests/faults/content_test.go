package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// file writes what a plain slice holds, with holes where it is zero.
func file(t *testing.T, b []byte) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "raw"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := f.Truncate(int64(len(b))); err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(b); i += 4096 {
		part := b[i:min(i+4096, len(b))]
		if len(bytes.Trim(part, "\x00")) == 0 {
			continue
		}
		if _, err := f.WriteAt(part, int64(i)); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

func same(t *testing.T, c *content, plain []byte) {
	t.Helper()
	if diff, err := c.difference(file(t, plain)); err != nil || diff != "" {
		t.Fatalf("%v, %s", err, diff)
	}
}

func TestContentIsWhatWasWritten(t *testing.T) {
	const size = 5*pageSize + 512
	plain := make([]byte, size)
	c := newContent(size)
	put := func(offset int, b []byte) { copy(plain[offset:], b); c.write(int64(offset), b) }
	same(t, c, plain)
	put(512, bytes.Repeat([]byte{7}, 3*pageSize))
	put(5*pageSize, bytes.Repeat([]byte{8}, 512))
	same(t, c, plain)
	was, before := c.clone(), bytes.Clone(plain)
	put(pageSize, make([]byte, pageSize))
	put(4*pageSize+1024, []byte("abc"))
	same(t, c, plain)
	same(t, was, before)

	// A discard leaves parts of a cluster alone, unless the disk ends in it.
	c.discard(2*pageSize-512, pageSize+1024)
	clear(plain[2*pageSize : 3*pageSize])
	same(t, c, plain)
	c.discard(4*pageSize+512, pageSize)
	clear(plain[5*pageSize:])
	same(t, c, plain)

	again, err := load(file(t, plain), was)
	if err != nil {
		t.Fatal(err)
	}
	same(t, again, plain)
	if again.pages[0] != was.pages[0] {
		t.Error("a page that is as it was is kept twice")
	}
}

func TestEveryDifferenceIsSeen(t *testing.T) {
	const size = 3*pageSize + 1024
	plain := make([]byte, size)
	copy(plain[pageSize+100:], "something")
	c, err := load(file(t, plain), nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, offset := range map[string]int{"in data": pageSize + 104, "in a hole": 10, "at the end": size - 1} {
		bad := bytes.Clone(plain)
		bad[offset] ^= 1
		diff, err := c.difference(file(t, bad))
		if err != nil || !strings.HasPrefix(diff, "1 pages") {
			t.Errorf("%s: %v, %q", name, err, diff)
		}
	}
	for name, bad := range map[string][]byte{"all zeros": make([]byte, size)} {
		if diff, err := c.difference(file(t, bad)); err != nil || !strings.Contains(diff, "first at byte 65636: 0000") {
			t.Errorf("%s: %v, %q", name, err, diff)
		}
	}
	for _, n := range []int{size - 512, size + 512} {
		if diff, err := c.difference(file(t, make([]byte, n))); err != nil || !strings.Contains(diff, "the disk had") {
			t.Errorf("%v, %q", err, diff)
		}
	}
}
