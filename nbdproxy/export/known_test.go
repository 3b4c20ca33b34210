package export

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vmsync/internal/blockindex"
	"vmsync/nbdproxy/stream"
)

func TestZerosThatTheReceiverHasAreSkipped(t *testing.T) {
	const g, far = granule, 1 << 40
	ones := func(blocks int) []byte { return bytes.Repeat([]byte{1}, blocks*g) }
	middle := append(make([]byte, 2*g), ones(2)...) // data in blocks 2 and 3
	for name, c := range map[string]struct {
		had   []byte
		size  int64 // of the disk that is sent
		zeros []stream.Extent
		want  []stream.Extent
	}{
		"the receiver has zeros":        {make([]byte, 4*g), 4 * g, xs(0, 4*g), nil},
		"the receiver has data":         {middle, 4 * g, xs(0, 4*g), xs(2*g, 2*g)},
		"parts of blocks":               {middle, 4 * g, xs(g, g+512, 3*g+512, 512), xs(2*g, 512, 3*g+512, 512)},
		"twice in one block":            {middle, 4 * g, xs(2*g, 512, 2*g+1024, 512), xs(2*g, 512, 2*g+1024, 512)},
		"beyond its end it has zeros":   {middle, far, xs(g, far-g), xs(2*g, 2*g)},
		"a disk that has shrunk":        {middle, 3 * g, xs(0, 3*g), xs(2*g, g)},
		"grown from within a block":     {middle[:g+512], 4 * g, xs(0, 4*g), xs(g, g)},
		"shrunk to within a block":      {middle, 2*g + 512, xs(0, 2*g+512), xs(2*g, 512)},
		"shrunk to within a zero block": {middle, g + 512, xs(0, g+512), xs(g, 512)},
		"the same odd size":             {middle[:g+512], g + 512, xs(0, g+512), nil},
	} {
		o := knownOf(t, c.had, c.size).other(t.Context())
		var got []stream.Extent
		var same, all int64
		for _, e := range c.zeros {
			n, err := o.parts(e, func(part stream.Extent) error { got = join(got, part); return nil })
			if err != nil {
				t.Fatal(err)
			}
			same += n
			all += e.Length
		}
		o.stop()
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: -want +got\n%s", name, diff)
		}
		for _, e := range got {
			all -= e.Length
		}
		if same != all {
			t.Errorf("%s: %d bytes are the same, want %d", name, same, all)
		}
	}
}

func TestKnownOfAnotherSize(t *testing.T) {
	const g = granule
	had := bytes.Repeat([]byte{1}, 2*g+512)
	one, part := blockindex.Sum(had[:g]), blockindex.Sum(had[:512])
	for name, c := range map[string]struct {
		size  int64 // of the disk that is sent
		block int64
		hash  blockindex.Hash
		want  bool
	}{
		"a whole block":                 {4 * g, 1, one, true},
		"another whole block":           {4 * g, 1, part, false},
		"the end of the smaller":        {4 * g, 2, part, false},
		"zeros at the smaller's end":    {4 * g, 2, blockindex.Zero, false},
		"zeros beyond":                  {4 * g, 3, blockindex.Zero, true},
		"data beyond":                   {4 * g, 3, one, false},
		"far beyond":                    {1 << 40, 1 << 20, blockindex.Zero, true},
		"the same size":                 {2*g + 512, 2, part, true},
		"shrunk to whole blocks":        {g, 0, one, true},
		"shrunk, with an odd end":       {g + 512, 1, one, false},
		"shrunk, before its odd end":    {g + 512, 0, one, true},
		"shrunk within the odd block":   {2*g + 100, 2, part, false},
		"grown within the odd block":    {2*g + 1024, 2, part, false},
		"grown by a block in its midst": {3*g + 512, 3, part, false},
	} {
		got, err := knownOf(t, had, c.size).has(c.block, c.hash)
		if err != nil || got != c.want {
			t.Errorf("%s: got %t, error %v", name, got, err)
		}
	}
}
