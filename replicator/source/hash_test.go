package source

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vmsync/internal/blockindex"
	"vmsync/replicator"
)

func TestChangedBlocksAreToldFromZeros(t *testing.T) {
	const blocks = 10000
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	in, err := blockindex.Create(from, blocks*blockindex.BlockSize-512)
	if err != nil {
		t.Fatal(err)
	}
	want := map[int64]blockindex.Hash{}
	for b := range int64(blocks) {
		h := blockindex.Zero
		switch {
		case b == 0 || b == 4095 || b > 5000 && b < 5100 || b == blocks-1:
			want[b] = replicator.ChangedSince
			continue
		case b%7 == 0:
			h = blockindex.Sum([]byte{byte(b), 1})
			want[b] = h
		}
		if err := in.Set(b, h); err != nil {
			t.Fatal(err)
		}
	}
	if err := in.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	if err := markChanged(t.Context(), from, to); err != nil {
		t.Fatal(err)
	}
	out, err := blockindex.Open(to)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	got := map[int64]blockindex.Hash{}
	for e, err := range out.Present(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		got[e.Block] = e.Hash
	}
	if diff := cmp.Diff(want, got); diff != "" || out.Size() != blocks*blockindex.BlockSize-512 {
		t.Errorf("-want +got\n%s", diff)
	}
}
