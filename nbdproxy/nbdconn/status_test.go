package nbdconn

import (
	"encoding/binary"
	"errors"
	"testing"
)

// words are a reply's numbers.
func words(b []byte) []uint32 {
	var w []uint32
	for ; len(b) >= 4; b = b[4:] {
		w = append(w, binary.BigEndian.Uint32(b))
	}
	return w
}

func FuzzParseStatus(f *testing.F) {
	for _, w := range [][]uint32{nil, {1}, {4096, 0}, {0, 0}, {4096, 3, 1 << 31, 0}, {4096, 3, 0, 0, 1}} {
		var b []byte
		for _, n := range w {
			b = binary.BigEndian.AppendUint32(b, n)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		w := words(b)
		got, err := parseStatus(w, nil)
		empty := false
		for i := 0; i+1 < len(w); i += 2 {
			empty = empty || w[i] == 0
		}
		if bad := len(w)%2 != 0 || empty; bad != (err != nil) {
			t.Fatalf("%v: error %v", w, err)
		}
		if len(got) != len(w)/2 {
			t.Fatalf("%v: %d entries", w, len(got))
		}
		for i, s := range got {
			if s.Length != w[2*i] || s.Flags != w[2*i+1] {
				t.Fatalf("%v: entry %d is %+v", w, i, s)
			}
		}
		earlier := errors.New("earlier")
		if _, err := parseStatus(w, earlier); err != earlier {
			t.Fatalf("an earlier error became %v", err)
		}
	})
}
