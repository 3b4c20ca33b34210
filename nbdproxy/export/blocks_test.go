package export

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"vmsync/nbdproxy/stream"
)

func TestBlocksHaveTheTraitsOfAllTheirRanges(t *testing.T) {
	const g = granule
	type piece struct {
		n int64
		t traits
	}
	type run struct {
		E stream.Extent
		T traits
	}
	at := func(offset, length int64, t traits) run { return run{stream.Extent{Offset: offset, Length: length}, t} }
	for name, c := range map[string]struct {
		pieces []piece
		want   []run
	}{
		"whole blocks":               {[]piece{{2 * g, holdsData}, {g, 0}}, []run{at(0, 2*g, holdsData), at(2*g, g, 0)}},
		"an odd end":                 {[]piece{{2*g + 512, isOwn}}, []run{at(0, 2*g+512, isOwn)}},
		"a small disk":               {[]piece{{512, isOwn}}, []run{at(0, 512, isOwn)}},
		"cut within a block":         {[]piece{{g + 512, holdsData}, {2*g - 512, 0}}, []run{at(0, g, holdsData), at(g, g, holdsData), at(2*g, g, 0)}},
		"many in one block":          {[]piece{{512, holdsData}, {512, isDirty}, {g - 1024, 0}, {g, isOwn}}, []run{at(0, g, holdsData|isDirty), at(g, g, isOwn)}},
		"in the odd end":             {[]piece{{g, 0}, {100, isDirty}, {100, 0}}, []run{at(0, g, 0), at(g, 200, isDirty)}},
		"a long one from a midst on": {[]piece{{512, isOwn}, {3 * g, 0}}, []run{at(0, g, isOwn), at(g, 2*g+512, 0)}},
		"nothing is carried over":    {[]piece{{512, isOwn}, {g - 512, 0}, {512, 0}, {g - 512, 0}}, []run{at(0, g, isOwn), at(g, g, 0)}},
	} {
		var size int64
		for _, p := range c.pieces {
			size += p.n
		}
		var got []run
		b := blockwise{size: size, emit: func(e stream.Extent, t traits) error { got = append(got, run{e, t}); return nil }}
		for _, p := range c.pieces {
			if err := b.add(p.n, p.t); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: -want +got\n%s", name, diff)
		}
	}
}
