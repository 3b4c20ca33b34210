package blockindex

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// model is a disk's images, base first, in the plainest way.
type model []layer

type layer struct {
	blocks  int64
	entries map[int64]Hash
}

// at is what the first n layers read as at a block.
func (m model) at(n int, block int64) Hash {
	if n == 0 || block >= m[n-1].blocks {
		return Zero
	}
	if h, ok := m[n-1].entries[block]; ok {
		return h
	}
	return m.at(n-1, block)
}

// reads is what the model reads as, apart from zeros.
func (m model) reads() map[int64]Hash {
	got := map[int64]Hash{}
	for b := range m[len(m)-1].blocks {
		if h := m.at(len(m), b); h != Zero {
			got[b] = h
		}
	}
	return got
}

// randomModel makes layers whose sizes vary around a chunk's or a page's.
func randomModel(rng *rand.Rand, layers int) model {
	sizes := []int64{1, perPage - 1, perPage, perPage + 1, 3 * perPage, perChunk, perChunk + 3, 3*perChunk + 7}
	var m model
	for range layers {
		l := layer{sizes[rng.IntN(len(sizes))], map[int64]Hash{}}
		for range rng.IntN(40) {
			h := hash(rng.Uint64N(5))
			if rng.IntN(3) == 0 {
				h = Zero
			}
			l.entries[rng.Int64N(l.blocks)] = h
		}
		m = append(m, l)
	}
	return m
}

func (m model) files(t *testing.T) []string {
	t.Helper()
	var paths []string
	for _, l := range m {
		paths = append(paths, create(t, l.blocks*BlockSize, l.entries))
	}
	return paths
}

// reads is what a chain reads as, by Blocks, and makes sure that Lookup, Digest and
// DigestFrom agree.
func reads(t *testing.T, paths ...string) map[int64]Hash {
	t.Helper()
	c := openChain(t, paths...)
	got := map[int64]Hash{}
	var want Digest
	for e, err := range c.Blocks(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		got[e.Block] = e.Hash
		want.Add(e.Block, e.Hash)
	}
	for b := range Blocks(c.Size()) + 2 {
		h, err := c.Lookup(b)
		if w, ok := got[b]; err != nil || ok && h != w || !ok && h != Zero {
			t.Fatalf("block %d: %v, and %v by Lookup, error %v", b, w, h, err)
		}
	}
	if d, err := c.Digest(t.Context()); err != nil || d != want {
		t.Errorf("digest %v instead of %v, error %v", d, want, err)
	}
	var parent Digest
	if len(c) > 1 {
		var err error
		if parent, err = c[:len(c)-1].Digest(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if d, err := c.DigestFrom(t.Context(), parent); err != nil || d != want {
		t.Errorf("digest from the parent's %v instead of %v, error %v", d, want, err)
	}
	return got
}

func TestChainReadsAsTheImagesDo(t *testing.T) {
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 1))
		m := randomModel(rng, 1+rng.IntN(5))
		if got, want := reads(t, m.files(t)...), m.reads(); !sameMap(got, want) {
			t.Errorf("seed %d: %v instead of %v", seed, got, want)
		}
	}
}

func TestMergedFilesReadAsBefore(t *testing.T) {
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 2))
		m := randomModel(rng, 2+rng.IntN(4))
		paths, want := m.files(t), m.reads()
		for len(paths) > 1 {
			i := rng.IntN(len(paths) - 1)
			parent, child := paths[i], paths[i+1]
			for range 1 + rng.IntN(3) {
				if err := Merge(t.Context(), parent, child); err != nil {
					t.Fatal(err)
				}
				// Over the merged parent the child changes nothing.
				if got := reads(t, paths...); !sameMap(got, want) {
					t.Fatalf("seed %d: after merging %d of %d: %v instead of %v", seed, i+1, len(paths), got, want)
				}
			}
			paths = slices.Delete(paths, i+1, i+2)
			if got := reads(t, paths...); !sameMap(got, want) {
				t.Fatalf("seed %d: after merging %d: %v instead of %v", seed, i+1, got, want)
			}
		}
	}
}

func TestMergeThatWasBrokenOffIsCompleted(t *testing.T) {
	size := map[string]int64{"same": 2*perChunk + 9, "grown": 4 * perChunk, "shrunk": perPage + 1}
	for name, blocks := range size {
		for step := range 12 {
			t.Run(fmt.Sprintf("%s after %d", name, step), func(t *testing.T) {
				step, through := step/2, step%2 == 0
				m := randomModel(rand.New(rand.NewPCG(1, uint64(step))), 3)
				m[1] = layer{2*perChunk + 9, map[int64]Hash{0: hash(1), perPage: hash(2), perPage + 1: hash(3), 2 * perChunk: hash(4)}}
				m[2].blocks, m[2].entries = blocks, map[int64]Hash{0: hash(5), perPage: Zero, blocks - 1: hash(6)}
				if name == "shrunk" {
					m[0] = layer{4 * perChunk, map[int64]Hash{3 * perChunk: hash(7)}}
				}
				paths, want := m.files(t), m.reads()
				if !through {
					// A child that shows nothing below a part of it, as merging leaves it.
					inherit(t, paths[2], blocks/2)
					for b := range want {
						if _, ok := m[2].entries[b]; b >= blocks/2 && !ok {
							delete(want, b)
						}
					}
				}
				breakOff(t, paths[1], paths[2], step)
				if err := Merge(t.Context(), paths[1], paths[2]); err != nil {
					t.Fatal(err)
				}
				if got := reads(t, paths[0], paths[1]); !sameMap(got, want) {
					t.Errorf("%v instead of %v", got, want)
				}
			})
		}
	}
}

// inherit sets how many blocks an index shows through.
func inherit(t *testing.T, path string, blocks int64) {
	t.Helper()
	f, err := OpenWritable(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	f.head.inherited = blocks
	if _, err := f.f.WriteAt(f.head.encode(), 0); err != nil {
		t.Fatal(err)
	}
}

// breakOff does as much of a merge as its step says.
func breakOff(t *testing.T, parent, child string, step int) {
	t.Helper()
	p, err := OpenWritable(parent)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	c := openChain(t, child)[0]
	cut := fileSize(c.head.inherited)
	merged := header{c.Size(), min(p.head.inherited, c.head.inherited)}
	steps := []func() error{
		func() error {
			if fileSize(p.Blocks()) > cut {
				return p.f.Truncate(cut)
			}
			return nil
		},
		func() error { return p.f.Truncate(fileSize(c.Blocks())) },
		func() error { _, err := p.f.WriteAt(merged.encode(), 0); p.head = merged; return err },
		func() error { return p.Set(0, hash(5)) },
		func() error { return p.flush() },
	}
	for _, s := range steps[:min(step, len(steps))] {
		if err := s(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestMergeOfADamagedFileIsRefused(t *testing.T) {
	parent, child := create(t, 10*BlockSize, nil), create(t, 20*BlockSize, nil)
	for _, length := range []int64{0, headerSize, fileSize(15), fileSize(20) + 1} {
		if err := os.Truncate(parent, length); err != nil {
			t.Fatal(err)
		}
		if err := Merge(t.Context(), parent, child); !errors.Is(err, ErrFormat) {
			t.Errorf("%d bytes: error %v", length, err)
		}
	}
	if err := Merge(t.Context(), parent, filepath.Join(t.TempDir(), "x")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}

func TestDiffOfTwoStates(t *testing.T) {
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 3))
		trunk := randomModel(rng, rng.IntN(3)+1)
		a := append(slices.Clone(trunk), randomModel(rng, rng.IntN(3))...)
		b := append(slices.Clone(trunk), randomModel(rng, rng.IntN(3))...)
		shared := trunk.files(t)
		if seed%3 == 0 {
			shared = nil
		}
		pathsA := append(slices.Clone(shared), a[len(shared):].files(t)...)
		pathsB := append(slices.Clone(shared), b[len(shared):].files(t)...)
		var want, got []int64
		for i := range max(a[len(a)-1].blocks, b[len(b)-1].blocks) {
			if a.at(len(a), i) != b.at(len(b), i) {
				want = append(want, i)
			}
		}
		for i, err := range Diff(t.Context(), openChain(t, pathsA...), openChain(t, pathsB...)) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, i)
		}
		if !slices.Equal(got, want) {
			t.Errorf("seed %d: %v instead of %v", seed, got, want)
		}
		for i := range Diff(t.Context(), openChain(t, pathsA...), openChain(t, pathsB...)) {
			if i != want[0] {
				t.Errorf("seed %d: %d first", seed, i)
			}
			break
		}
	}
}

func TestDiffLooksBelowWhereOnlyOneDiskShowsIt(t *testing.T) {
	const size = 4 * perChunk * BlockSize
	base := create(t, size, map[int64]Hash{1: hash(1), perChunk: hash(2), 2 * perChunk: hash(3)})
	a, b := create(t, size, map[int64]Hash{3 * perChunk: hash(4)}), create(t, size, map[int64]Hash{3 * perChunk: hash(5)})
	inherit(t, a, 2)
	var got []int64
	for i, err := range Diff(t.Context(), openChain(t, base, a), openChain(t, base, b)) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, i)
	}
	if want := []int64{perChunk, 2 * perChunk, 3 * perChunk}; !slices.Equal(got, want) {
		t.Errorf("%v instead of %v", got, want)
	}
}

func BenchmarkSum(b *testing.B) {
	block := make([]byte, BlockSize)
	for i := range block {
		block[i] = byte(i)
	}
	b.SetBytes(BlockSize)
	for b.Loop() {
		Sum(block)
	}
}

func BenchmarkDigestTerm(b *testing.B) {
	var d Digest
	for b.Loop() {
		d.Add(1, hash(1))
	}
}
