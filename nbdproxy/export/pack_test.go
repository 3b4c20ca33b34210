package export

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vmsync/nbdproxy/stream"
)

// xs makes extents of pairs of offset and length.
func xs(words ...int64) (extents []stream.Extent) {
	for i := 0; i < len(words); i += 2 {
		extents = append(extents, stream.Extent{Offset: words[i], Length: words[i+1]})
	}
	return extents
}

// pack returns the frames that extents fill.
func pack(t *testing.T, c class, extents ...stream.Extent) (frames [][]stream.Extent) {
	t.Helper()
	keep := func(x []stream.Extent) error { frames = append(frames, x); return nil }
	p := packer{data: keep, list: func() []stream.Extent { return nil },
		zero: func(x []stream.Extent) error { return keep(slices.Clone(x)) }}
	for _, e := range extents {
		if err := p.add(e, c); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.flush(); err != nil {
		t.Fatal(err)
	}
	return frames
}

func TestPacker(t *testing.T) {
	const k, m = 1 << 10, 1 << 20
	for name, c := range map[string]struct {
		class   class
		extents []stream.Extent
		want    [][]stream.Extent
	}{
		"nothing":             {data, nil, nil},
		"small ones together": {data, xs(0, k, 2*k, k), [][]stream.Extent{xs(0, k, 2*k, k)}},
		"neighbours join":     {data, xs(0, k, k, k), [][]stream.Extent{xs(0, 2*k)}},
		"long one is cut":     {data, xs(0, 2*m+k), [][]stream.Extent{xs(0, m), xs(m, m), xs(2*m, k)}},
		"cut on a granule": {data, xs(k, 2*m),
			[][]stream.Extent{xs(k, m-k), xs(m, m), xs(2*m, k)}},
		"room of less than a granule stays": {data, xs(0, m-k, 2*m, m),
			[][]stream.Extent{xs(0, m-k), xs(2*m, m)}},
		"long zeros stay whole": {zero, xs(0, 1<<40, 1<<40, 1<<40), [][]stream.Extent{xs(0, 1<<41)}},
	} {
		if diff := cmp.Diff(c.want, pack(t, c.class, c.extents...)); diff != "" {
			t.Errorf("%s: -want +got\n%s", name, diff)
		}
	}
}

func TestPackerKeepsTheLimits(t *testing.T) {
	var tiny []stream.Extent
	for i := range int64(3 * stream.MaxExtents) {
		tiny = append(tiny, stream.Extent{Offset: i * 1024, Length: 512})
	}
	for _, c := range []class{data, zero} {
		n := 0
		for _, f := range pack(t, c, tiny...) {
			if len(f) > stream.MaxExtents || c == data && len(f) > packExtents {
				t.Errorf("class %d: %d extents in a frame", c, len(f))
			}
			n += len(f)
		}
		if n != len(tiny) {
			t.Errorf("class %d: %d of %d extents", c, n, len(tiny))
		}
	}
}
