package btrfs

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// compressible writes files that a compressing mount does compress: words, runs of one
// byte, and mixtures with what cannot be compressed; in one piece and in several.
func compressible(t testing.TB, root string) {
	t.Helper()
	random := rand.New(rand.NewPCG(7, 7))
	var words bytes.Buffer
	for i := 0; words.Len() < 700000; i++ {
		fmt.Fprintf(&words, "line %d of %x: some words that come again\n", i, random.Uint32N(1000))
	}
	noise := make([]byte, 200000)
	for i := range noise {
		noise[i] = byte(random.Uint32())
	}
	files := map[string][]byte{
		"words":      words.Bytes(),
		"small":      words.Bytes()[:1500],
		"odd":        words.Bytes()[:130001],
		"run":        bytes.Repeat([]byte{'r'}, 400000),
		"mixed":      bytes.Join([][]byte{words.Bytes()[:100000], noise, words.Bytes()[100000:300000]}, nil),
		"noise":      noise,
		"half noise": bytes.Join([][]byte{noise[:2000], words.Bytes()[:2000], noise[2000:4000]}, bytes.Repeat([]byte{0}, 3000)),
	}
	dir := filepath.Join(root, "compressible")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// An extent whose middle was overwritten: what is left of it is read at an offset.
	file, err := os.OpenFile(filepath.Join(dir, "words"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, off := range []int64{50000, 200000, 128<<10 + 4096, 699000} {
		if err := file.Sync(); err != nil {
			t.Fatal(err)
		}
		if _, err := file.WriteAt(words.Bytes()[:9000], off); err != nil {
			t.Fatal(err)
		}
	}
}
