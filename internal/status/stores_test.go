package status

import (
	"slices"
	"testing"

	"vmsync/internal/api"
)

func TestStoresThatAreNearlyFull(t *testing.T) {
	const gib = 1 << 30
	var got []string
	for _, l := range Tight([]api.Store{{Path: "/a", Size: 100 * gib, Avail: 10 * gib}, {Path: "/b\x1b", Size: 100 * gib, Avail: 9 * gib},
		{Path: "/c", Size: 100 * gib}, {Path: "/gone"}}) {
		got = append(got, l.Plain())
	}
	if want := []string{`/b\x1b has 9.0 GiB of 100.0 GiB left`, "/c has 0 B of 100.0 GiB left"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
