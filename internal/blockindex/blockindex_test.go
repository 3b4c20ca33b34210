package blockindex

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/zeebo/blake3"
	"github.com/zeebo/xxh3"
)

// hash makes a hash that stands for some content.
func hash(n uint64) Hash {
	var h Hash
	binary.LittleEndian.PutUint64(h[:], n+2)
	return h
}

// create makes an index with entries.
func create(t testing.TB, size int64, entries map[int64]Hash) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.idx")
	f, err := Create(path, size)
	if err != nil {
		t.Fatal(err)
	}
	for b, h := range entries {
		if err := f.Set(b, h); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(f.flush(), f.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

func openChain(t testing.TB, paths ...string) Chain {
	t.Helper()
	c, err := OpenChain(paths...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// present is what an index says.
func present(t testing.TB, path string) map[int64]Hash {
	t.Helper()
	got, last := map[int64]Hash{}, int64(-1)
	for e, err := range openChain(t, path)[0].Present(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Block <= last {
			t.Fatalf("block %d after block %d", e.Block, last)
		}
		got[e.Block], last = e.Hash, e.Block
	}
	return got
}

func sameMap(a, b map[int64]Hash) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if b[k] != v {
			return false
		}
	}
	return true
}

func TestSumIsTheBeginningOfBLAKE3(t *testing.T) {
	block := make([]byte, BlockSize)
	for _, n := range []int{0, 1, 512, BlockSize} {
		if got := Sum(block[:n]); got != Zero {
			t.Errorf("%d zeros: %v", n, got)
		}
	}
	for i := range block {
		block[i] = byte(i % 251)
	}
	for _, n := range []int{2, 512, 1025, BlockSize - 1, BlockSize} {
		want := blake3.Sum256(block[:n])
		if got := Sum(block[:n]); got != Hash(want[:16]) {
			t.Errorf("%d bytes: %v", n, got)
		}
	}
	// A test vector of BLAKE3's authors: the hash of the one byte 0, then 1.
	if got := Sum([]byte{0, 1}).String(); got != "7b7015bb92cf0b318037702a6cdd81de" {
		t.Errorf("bytes 0, 1: %s", got)
	}
	block[BlockSize-1]++
	if Sum(block) == Sum(block[:BlockSize-1]) || Zero.String() != "00000000000000000000000000000001" {
		t.Error("two contents with one hash")
	}
}

func TestWhatIsSetIsThereAfterwards(t *testing.T) {
	const size = 40*perChunk*BlockSize + 5
	want := map[int64]Hash{}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		want[rng.Int64N(Blocks(size))] = hash(rng.Uint64N(100))
	}
	want[0], want[Blocks(size)-1] = Zero, hash(7)
	path := create(t, size, want)
	if got := present(t, path); !sameMap(got, want) {
		t.Errorf("%d entries of %d are there, or others", len(got), len(want))
	}
	f, err := OpenWritable(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if f.Size() != size || f.Blocks() != 40*perChunk+1 {
		t.Errorf("a disk of %d bytes, %d blocks", f.Size(), f.Blocks())
	}
	for b, h := range want {
		if got, ok, err := f.Get(b); got != h || !ok || err != nil {
			t.Fatalf("block %d: %v %t %v", b, got, ok, err)
		}
	}
	if err := f.Set(0, Hash{}); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := f.Get(0); ok || err != nil {
		t.Errorf("made absent: %t %v", ok, err)
	}
	for _, b := range []int64{-1, f.Blocks(), 1 << 60} {
		if _, _, err := f.Get(b); err == nil {
			t.Errorf("block %d can be read", b)
		}
		if f.Set(b, Zero) == nil {
			t.Errorf("block %d can be set", b)
		}
	}
}

func TestBlocksMayBeSetAtOnce(t *testing.T) {
	const size = 100 * perPage * BlockSize
	f, err := Create(filepath.Join(t.TempDir(), "x"), size)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	done := make(chan error)
	for g := range int64(4) {
		go func() {
			for b := g; b < f.Blocks(); b += 4 {
				if err := f.Set(b, hash(uint64(b))); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range 4 {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	n := int64(0)
	for e, err := range f.Present(t.Context()) {
		if err != nil || e.Block != n || e.Hash != hash(uint64(n)) {
			t.Fatalf("entry %d: %+v, error %v", n, e, err)
		}
		n++
	}
	if n != f.Blocks() {
		t.Errorf("%d blocks of %d", n, f.Blocks())
	}
}

func TestFewEntriesOfALargeDiskTakeLittleSpace(t *testing.T) {
	const size = 1 << 40
	entries := map[int64]Hash{}
	for i := range int64(100) {
		entries[i*(Blocks(size)-1)/99] = hash(uint64(i))
	}
	path := create(t, size, entries)
	f, err := OpenWritable(path)
	if err != nil {
		t.Fatal(err)
	}
	for b := int64(0); b < f.Blocks(); b += perPage / 2 { // absent as it was
		if _, ok := entries[b]; !ok {
			if err := f.Set(b, Hash{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	if st.Size != 4096+16<<24 || st.Blocks*512 >= 1<<20 {
		t.Errorf("it has %d bytes and takes %d", st.Size, st.Blocks*512)
	}
	if got := present(t, path); !sameMap(got, entries) {
		t.Errorf("%d entries", len(got))
	}
}

func TestDigestFollowsChanges(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	disk := map[int64]Hash{}
	var d Digest
	for range 2000 {
		b := rng.Int64N(300)
		h := Zero
		if rng.IntN(3) > 0 {
			h = hash(rng.Uint64())
		}
		if old, ok := disk[b]; ok {
			d.Remove(b, old)
		}
		d.Add(b, h)
		disk[b] = h
	}
	var want Digest
	for b, h := range disk { // in whatever order
		want.Add(b, h)
	}
	if d != want {
		t.Errorf("%v, where %v was recomputed", d, want)
	}
	got, err := ParseDigest(d.String())
	if err != nil || got != d {
		t.Errorf("%v read as %v, error %v", d, got, err)
	}
	for b, h := range disk {
		d.Remove(b, h)
	}
	if d != (Digest{}) || d.String() != strings.Repeat("0", 32) {
		t.Errorf("nothing is %v", d)
	}
	for _, s := range []string{"", "00", strings.Repeat("0", 31), strings.Repeat("0", 33), strings.Repeat("g", 32), strings.Repeat("A", 32)} {
		if d, err := ParseDigest(s); err == nil {
			t.Errorf("%q read as %v", s, d)
		}
	}
}

func TestDigestIsAsSpecified(t *testing.T) {
	var d Digest
	d.Add(3, hash(9))
	d.Add(4, Zero)
	h := hash(9)
	want := blake3.Sum256(append([]byte{3, 0, 0, 0, 0, 0, 0, 0}, h[:]...))
	if got := fmt.Sprintf("%x", want[:16]); d.String() != got {
		t.Errorf("%v instead of %s", d, got)
	}
}

// forge changes bytes of a header and makes its checksum fit.
func forge(b []byte, change func([]byte)) []byte {
	b = append([]byte(nil), b...)
	change(b)
	binary.LittleEndian.PutUint64(b[hashedSize:], xxh3.Hash(b[:hashedSize]))
	return b
}

func TestOpenRefusesWhatIsNoIndex(t *testing.T) {
	good := append(header{size: 3*BlockSize + 1, inherited: 4}.encode(), make([]byte, 4*entrySize)...)
	put := func(at int, v uint64) func([]byte) {
		return func(b []byte) { binary.LittleEndian.PutUint64(b[at:], v) }
	}
	for name, c := range map[string]struct {
		content []byte
		want    error
	}{
		"good":             {good, nil},
		"empty":            {nil, ErrFormat},
		"header cut":       {good[:headerSize-1], ErrFormat},
		"header only":      {good[:headerSize], ErrFormat},
		"entry cut":        {good[:len(good)-1], ErrFormat},
		"too long":         {append(append([]byte(nil), good...), 0), ErrFormat},
		"magic":            {forge(good, func(b []byte) { b[0]++ }), ErrFormat},
		"checksum":         {func() []byte { b := forge(good, func([]byte) {}); b[hashedSize]++; return b }(), ErrFormat},
		"version":          {forge(good, func(b []byte) { b[8] = 2 }), ErrVersion},
		"block size":       {forge(good, func(b []byte) { b[12]++ }), ErrFormat},
		"flags":            {forge(good, func(b []byte) { b[24]++ }), ErrFormat},
		"rest":             {forge(good, func(b []byte) { b[headerSize-1]++ }), ErrFormat},
		"no size":          {forge(good, put(16, 0)), ErrFormat},
		"other size":       {forge(good, put(16, BlockSize)), ErrFormat},
		"huge size":        {forge(good, put(16, MaxSize+1)), ErrFormat},
		"negative size":    {forge(good, put(16, 1<<63)), ErrFormat},
		"largest size":     {forge(good, put(16, MaxSize)), ErrFormat},
		"inherits more":    {forge(good, put(32, 5)), ErrFormat},
		"inherits minus 1": {forge(good, put(32, 1<<64-1)), ErrFormat},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x")
			if err := os.WriteFile(path, c.content, 0o600); err != nil {
				t.Fatal(err)
			}
			f, err := Open(path)
			if !errors.Is(err, c.want) || err != nil && !strings.Contains(err.Error(), path) {
				t.Errorf("error %v", err)
			}
			if f != nil {
				_ = f.Close()
			}
		})
	}
	t.Run("pipe", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "x")
		if err := syscall.Mkfifo(path, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path); !errors.Is(err, ErrFormat) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("missing", func(t *testing.T) {
		if _, err := OpenChain(filepath.Join(t.TempDir(), "x")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("exists", func(t *testing.T) {
		if _, err := Create(create(t, 1, nil), 1); !errors.Is(err, os.ErrExist) {
			t.Errorf("error %v", err)
		}
	})
}

func TestFileCutShortIsAnError(t *testing.T) {
	path := create(t, 3*perChunk*BlockSize, map[int64]Hash{0: hash(1), 3*perChunk - 1: hash(2)})
	c := openChain(t, path)
	for _, length := range []int64{headerSize + 100, 0} {
		if err := os.Truncate(path, length); err != nil {
			t.Fatal(err)
		}
		if _, _, err := c[0].Get(3*perChunk - perPage - 1); !errors.Is(err, ErrFormat) {
			t.Errorf("cut to %d bytes: error %v", length, err)
		}
		if _, err := c.Digest(t.Context()); length > 0 && !errors.Is(err, ErrFormat) {
			t.Errorf("cut to %d bytes: error %v", length, err)
		}
	}
	if err := os.Truncate(path, 1<<30); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte{1}, 1<<30-1); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Digest(t.Context()); err != nil {
		t.Errorf("made longer: %v", err)
	}
	for e, err := range c[0].Present(t.Context()) {
		t.Errorf("made longer: %+v, error %v", e, err)
	}
}

func FuzzOpen(f *testing.F) {
	good := append(header{size: 3*BlockSize + 1, inherited: 4}.encode(), make([]byte, 4*entrySize)...)
	good[headerSize+20] = 1
	f.Add(good[:64], good[headerSize:])
	f.Add(forge(good, func(b []byte) { binary.LittleEndian.PutUint64(b[16:], MaxSize) })[:64], []byte{1})
	f.Add([]byte{}, []byte{})
	base := create(f, 9*BlockSize, map[int64]Hash{1: hash(1), 8: hash(8)})
	f.Fuzz(func(t *testing.T, head, entries []byte) {
		// The checksum is made to fit, so that what lies behind it is looked at.
		b := make([]byte, headerSize)
		copy(b, head)
		if len(head) > 0 && head[0]%2 == 0 {
			b = forge(b, func([]byte) {})
		}
		path := filepath.Join(t.TempDir(), "x")
		if err := os.WriteFile(path, append(b, entries...), 0o600); err != nil {
			t.Fatal(err)
		}
		file, err := Open(path)
		if err != nil {
			if !errors.Is(err, ErrFormat) && !errors.Is(err, ErrVersion) {
				t.Fatal(err)
			}
			return
		}
		_ = file.Close()
		c := openChain(t, base, path)
		d, err := c.Digest(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		lower, err := c[:1].Digest(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if from, err := c.DigestFrom(context.Background(), lower); err != nil || from != d {
			t.Fatalf("digest %v, from the parent's %v, error %v", d, from, err)
		}
	})
}
