package cow

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"vmsync/fusefs/device"
	"vmsync/fusefs/filesystem"
)

var le = binary.LittleEndian

const chunk = 512

// store is a snapshot's store with entries of origin's chunk and its own.
func store(entries ...[2]uint64) []byte {
	s := make([]byte, 64*chunk)
	le.PutUint32(s, magic)
	le.PutUint32(s[4:], 1)
	le.PutUint32(s[8:], version)
	le.PutUint32(s[12:], chunk/sector)
	for i, e := range entries {
		// 32 entries fill an area of one chunk; the next follows their chunks.
		at := (1+i/32*33)*chunk + i%32*entrySize
		le.PutUint64(s[at:], e[0])
		le.PutUint64(s[at+8:], e[1])
	}
	for c := 2; c < 64; c++ {
		if c != 34 {
			copy(s[c*chunk:], bytes.Repeat([]byte{byte(c)}, chunk))
		}
	}
	return s
}

func of(b []byte) device.Device { return device.OfReaderAt(bytes.NewReader(b), int64(len(b))) }

func TestChunksComeFromTheStore(t *testing.T) {
	var entries [][2]uint64
	want := bytes.Repeat([]byte{'o'}, 100*chunk)
	for i := range uint64(40) { // more than an area holds
		origin, stored := (i*7)%100, i+2
		if stored >= 34 {
			stored++
		}
		entries = append(entries, [2]uint64{origin, stored})
		copy(want[origin*chunk:], bytes.Repeat([]byte{byte(stored)}, chunk))
	}
	runs := 50
	s, err := Open(of(bytes.Repeat([]byte{'o'}, 100*chunk)), of(store(entries...)), &runs)
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(want))
	if _, err := s.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%v, or other bytes", err)
	}
	if runs != 10 {
		t.Errorf("%d runs are left of 50", runs)
	}
	if _, err := Open(of(want), of(store(entries...)), &runs); !errors.Is(err, filesystem.ErrUnsupported) || runs != 10 {
		t.Errorf("a second one: %v, and %d runs are left", err, runs)
	}
}

func TestStoresThatAreRefused(t *testing.T) {
	origin, runs := of(make([]byte, 100*chunk)), 100
	for name, tt := range map[string]struct {
		store []byte
		is    error
	}{
		"chunk twice":    {store([2]uint64{5, 2}, [2]uint64{5, 4}), filesystem.ErrCorrupt},
		"outside":        {store([2]uint64{5, 64}), filesystem.ErrCorrupt},
		"not of origin":  {store([2]uint64{1 << 60, 3}), filesystem.ErrCorrupt},
		"no header":      {make([]byte, 64*chunk), filesystem.ErrCorrupt},
		"large chunks":   {func() []byte { s := store(); le.PutUint32(s[12:], 1<<20); return s }(), filesystem.ErrUnsupported},
		"later version":  {func() []byte { s := store(); s[8] = 2; return s }(), filesystem.ErrUnsupported},
		"odd chunk size": {func() []byte { s := store(); s[12] = 3; return s }(), filesystem.ErrCorrupt},
	} {
		if _, err := Open(origin, of(tt.store), &runs); !errors.Is(err, tt.is) {
			t.Errorf("%s: %v", name, err)
		}
	}
	full := store()
	full[4] = 0
	if _, err := Open(origin, of(full), &runs); err == nil {
		t.Error("a store that ran full was read")
	}
}

func FuzzStore(f *testing.F) {
	f.Add([]byte{2, 8, 3})
	f.Fuzz(func(t *testing.T, edits []byte) {
		raw := store([2]uint64{5, 2}, [2]uint64{6, 3}, [2]uint64{90, 4})
		for ; len(edits) >= 3; edits = edits[3:] {
			raw[int(le.Uint16(edits))%len(raw)] = edits[2]
		}
		const size = 100*chunk - 7
		runs := 100
		s, err := Open(of(make([]byte, size)), of(raw), &runs)
		if err != nil {
			return
		}
		if n, err := s.ReadAt(make([]byte, size), 0); n < size && err == nil {
			t.Fatal("a short read without an error")
		}
		for off, n := int64(0), 0; off < size; n++ {
			start, end, err := s.Data(off)
			if err != nil || start < off || end < start || (start == end && end != size) || n > 1000 {
				t.Fatalf("data at or after %d: %d to %d, %v", off, start, end, err)
			}
			off = end
		}
	})
}
