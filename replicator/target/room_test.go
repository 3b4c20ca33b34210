package target

import "testing"

func TestHowMuchStaysFree(t *testing.T) {
	const mib, gib = int64(1) << 20, int64(1) << 30
	for size, want := range map[int64]int64{0: 0, 160 * mib: 8 * mib, 20 * gib: gib, 100 * gib: gib, 1 << 62: gib} {
		if got := spare(size); got != want {
			t.Errorf("of %d bytes %d, want %d", size, got, want)
		}
	}
}
