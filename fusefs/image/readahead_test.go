package image

import (
	"math/rand/v2"
	"testing"
)

// TestReadersInOrderAreReadAheadOf has several readers take turns, each at its own place.
func TestReadersInOrderAreReadAheadOf(t *testing.T) {
	const step, length = 128 * kib, 64 * mib
	var r readahead
	fetched := [streams]int64{}
	for off := int64(0); off < length; off += step {
		for n := range int64(streams) {
			start := n<<40 + off
			s := r.after(span{start, start + step})
			if s.end == 0 {
				if ahead := fetched[n] - start - step; off > mib && ahead < min(off, maxAhead)/2-step {
					t.Fatalf("reader %d at %d is only %d bytes behind", n, off, ahead)
				}
				continue
			}
			if fetched[n] != 0 && s.start != max(fetched[n], start+step) || s.start < start+step || s.end > start+step+maxAhead {
				t.Fatalf("reader %d at %d: %d to %d fetched after %d", n, off, s.start-n<<40, s.end-n<<40, fetched[n]-n<<40)
			}
			fetched[n] = s.end
		}
	}
}

func TestNothingIsReadAheadOfReadersWithoutOrder(t *testing.T) {
	var r readahead
	for range 10000 {
		start := rand.Int64N(1<<30) * 4096
		// Two adjacent pieces are no order yet.
		for _, s := range []span{{start, start + 4096}, {start + 4096, start + 8192}} {
			if fetch := r.after(s); fetch != (span{}) {
				t.Fatalf("%v fetched", fetch)
			}
		}
	}
}

// TestReadAheadCoversFilesOfTheChain reads in order what lies in many files; what
// reading ahead asks for must lie within the disk and the files.
func TestReadAheadCoversFilesOfTheChain(t *testing.T) {
	path := chain(t, t.TempDir(), 4, 24*mib+512, "", 30)
	i := open(t, path, NewCache(mib))
	want := content(t, path)
	got := make([]byte, len(want))
	for at := 0; at < len(got); at += 128 * kib {
		if _, err := i.ReadAt(got[at:min(at+128*kib, len(got))], int64(at)); err != nil {
			t.Fatal(err)
		}
	}
	same(t, got, want, 0)
	if i.ahead.streams[0].fetched < i.Size() {
		t.Errorf("asked for %d of %d bytes", i.ahead.streams[0].fetched, i.Size())
	}
}
