package nbdconn

import "testing"

func TestOneLongReadOnceMuchWasRead(t *testing.T) {
	const mib = 1 << 20
	for name, c := range map[string]struct {
		size, maximum int64
		reads         int // of 1 MiB each, from the beginning
		from, length  int64
	}{
		"little":                       {1 << 40, 32 * mib, 127, 0, 0},
		"much":                         {1 << 40, 32 * mib, 128, 128 * mib, 16 * mib},
		"more":                         {1 << 40, 32 * mib, 1000, 128 * mib, 16 * mib},
		"no maximum":                   {1 << 40, 0, 128, 128 * mib, 16 * mib},
		"a small maximum":              {1 << 40, mib, 128, 128 * mib, mib},
		"much, and that was almost it": {130 * mib, 32 * mib, 130, 114 * mib, 16 * mib},
	} {
		var w Warmth
		var from, length int64
		for i := range c.reads {
			f, l := w.Read(int64(i)*mib, mib, c.size, c.maximum)
			if l > 0 && length > 0 {
				t.Errorf("%s: a second long read", name)
			}
			from, length = from+f, length+l
		}
		if from != c.from || length != c.length {
			t.Errorf("%s: %d bytes at %d, want %d at %d", name, length, from, c.length, c.from)
		}
	}
	var w Warmth
	for range 1000 {
		if from, length := w.Read(0, mib, mib, 32*mib); from < 0 || from+length > mib {
			t.Errorf("%d bytes at %d of a disk of 1 MiB", length, from)
		}
	}
}
