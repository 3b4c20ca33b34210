package apply

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"vmsync/nbdproxy/nbdconn"
	"vmsync/nbdproxy/stream"
)

// TestZerosOfPartsOfClustersAreWritten: see [appendZeros].
func TestZerosOfPartsOfClustersAreWritten(t *testing.T) {
	const k, c, size = 1 << 10, cluster, 10*cluster + 512
	type op struct {
		Kind           nbdconn.Kind
		Offset, Length int64
	}
	for _, test := range []struct {
		name string
		e    stream.Extent
		want []op
	}{
		{"whole clusters", stream.Extent{Offset: c, Length: 3 * c}, []op{{nbdconn.Zero, c, 3 * c}}},
		{"within one", stream.Extent{Offset: c + 4*k, Length: 8 * k}, []op{{nbdconn.Write, c + 4*k, 8 * k}}},
		{"the first part of one", stream.Extent{Offset: c, Length: 8 * k}, []op{{nbdconn.Write, c, 8 * k}}},
		{"the last part of one", stream.Extent{Offset: 2*c - 4*k, Length: 4 * k}, []op{{nbdconn.Write, 2*c - 4*k, 4 * k}}},
		{"over a boundary", stream.Extent{Offset: 2*c - 4*k, Length: 8 * k}, []op{{nbdconn.Write, 2*c - 4*k, 4 * k}, {nbdconn.Write, 2 * c, 4 * k}}},
		{"parts at both ends", stream.Extent{Offset: 2*c - 4*k, Length: c + 8*k},
			[]op{{nbdconn.Write, 2*c - 4*k, 4 * k}, {nbdconn.Zero, 2 * c, c}, {nbdconn.Write, 3 * c, 4 * k}}},
		{"to the end of the disk", stream.Extent{Offset: 8 * c, Length: 2*c + 512}, []op{{nbdconn.Zero, 8 * c, 2*c + 512}}},
		{"in its short cluster", stream.Extent{Offset: 10 * c, Length: 512}, []op{{nbdconn.Zero, 10 * c, 512}}},
		{"a part of its short cluster", stream.Extent{Offset: 10*c + 100, Length: 412}, []op{{nbdconn.Write, 10*c + 100, 412}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got []op
			for _, o := range appendZeros(nil, test.e, size) {
				n := o.Length
				if o.Kind == nbdconn.Write {
					n = int64(len(o.Buf))
				}
				got = append(got, op{o.Kind, o.Offset, n})
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
