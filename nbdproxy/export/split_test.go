package export

import (
	"bytes"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vmsync/internal/blockindex"
	"vmsync/nbdproxy/stream"
)

// fill makes bytes: of a positive number that many ones, of a negative one zeros.
func fill(parts ...int) []byte {
	var b []byte
	for _, n := range parts {
		if n > 0 {
			b = append(b, bytes.Repeat([]byte{1}, n)...)
		} else {
			b = append(b, make([]byte, -n)...)
		}
	}
	return b
}

func TestSplitZeros(t *testing.T) {
	const g = granule
	const size = 10*g + 512
	for name, c := range map[string]struct {
		extents []stream.Extent
		payload []byte
		data    []stream.Extent
		kept    []byte
		zeros   []stream.Extent
	}{
		"no zeros":     {xs(0, 2*g), fill(2 * g), xs(0, 2*g), fill(2 * g), nil},
		"only zeros":   {xs(g, 2*g), fill(-2 * g), nil, nil, xs(g, 2*g)},
		"in the midst": {xs(0, 3*g), fill(g, -g, g), xs(0, g, 2*g, g), fill(2 * g), xs(g, g)},
		"in front":     {xs(0, 2*g), fill(-g, g), xs(g, g), fill(g), xs(0, g)},
		"one bit set":  {xs(0, g), fill(-(g - 1), 1), xs(0, g), fill(-(g - 1), 1), nil},
		"across granules is not a granule": {xs(0, 2*g), fill(g/2, -g, g/2),
			xs(0, 2*g), fill(g/2, -g, g/2), nil},
		"part of a granule": {xs(512, 512), fill(-512), xs(512, 512), fill(-512), nil},
		"end of the disk":   {xs(10*g, 512), fill(-512), nil, nil, xs(10*g, 512)},
		"several extents": {xs(0, g, 2*g, g, 4*g, g), fill(g, -g, g),
			xs(0, g, 4*g, g), fill(2 * g), xs(2*g, g)},
	} {
		s := splitter{size: size}
		if err := s.split(c.extents, c.payload); err != nil {
			t.Fatal(err)
		}
		data, kept, zeros := s.data, s.kept, s.zero
		if !cmp.Equal(data, c.data) || !bytes.Equal(kept, c.kept) || !cmp.Equal(zeros, c.zeros) {
			t.Errorf("%s: data %v (%d bytes), zeros %v", name, data, len(kept), zeros)
		}
	}
}

// knownOf is what a receiver has whose disk holds content, in a disk of size bytes.
func knownOf(t *testing.T, content []byte, size int64) *known {
	t.Helper()
	f, err := blockindex.Create(filepath.Join(t.TempDir(), "index"), int64(len(content)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	for i := int64(0); i < f.Blocks(); i++ {
		b := content[i*granule : min(int64(len(content)), (i+1)*granule)]
		if h := blockindex.Sum(b); h != blockindex.Zero {
			if err := f.Set(i, h); err != nil {
				t.Fatal(err)
			}
		}
	}
	return newKnown(f, size, false)
}

func TestSplitTakesOutWhatIsKnown(t *testing.T) {
	const g = granule
	const size = 4*g + 512
	twos := func(n int) []byte { return bytes.Repeat([]byte{2}, n) }
	// The receiver has: ones, zeros, twos, twos, 512 ones.
	had := bytes.Join([][]byte{fill(g, -g), twos(2 * g), fill(512)}, nil)
	for name, c := range map[string]struct {
		extents []stream.Extent
		payload []byte
		data    []stream.Extent
		kept    []byte
		zeros   []stream.Extent
		same    int64
	}{
		"all the same":          {xs(0, size), bytes.Clone(had), nil, nil, nil, size},
		"one differs":           {xs(0, size), bytes.Join([][]byte{fill(g, -g), twos(g), fill(g, 512)}, nil), xs(3*g, g), fill(g), nil, 3*g + 512},
		"data are zeros now":    {xs(0, 2*g), fill(-2 * g), nil, nil, xs(0, g), g},
		"zeros are data now":    {xs(g, g), fill(g), xs(g, g), fill(g), nil, 0},
		"the right bytes moved": {xs(0, 4*g), bytes.Join([][]byte{twos(g), fill(-g), twos(g), fill(g)}, nil), xs(0, g, 3*g, g), append(twos(g), fill(g)...), nil, 2 * g},
		"part of a block":       {xs(512, g-512), fill(g - 512), xs(512, g-512), fill(g - 512), nil, 0},
		"zeros in part":         {xs(g, 512), fill(-512), xs(g, 512), fill(-512), nil, 0},
		"end of the disk":       {xs(4*g, 512), fill(512), nil, nil, nil, 512},
	} {
		s := splitter{size: size, known: knownOf(t, had, size)}
		if err := s.split(c.extents, c.payload); err != nil {
			t.Fatal(err)
		}
		if !cmp.Equal(s.data, c.data) || !bytes.Equal(s.kept, c.kept) || !cmp.Equal(s.zero, c.zeros) || s.same != c.same {
			t.Errorf("%s: data %v (%d bytes), zeros %v, same %d", name, s.data, len(s.kept), s.zero, s.same)
		}
	}
}
