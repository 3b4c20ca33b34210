package units

import (
	"fmt"
	"math"
	"strconv"

	"github.com/dustin/go-humanize"
)

// ParseSize reads a number of bytes, 0 to 2^63-1: 64M is 64,000,000, 64MiB is 67,108,864.
func ParseSize(text string) (int64, error) {
	n, err := humanize.ParseBytes(text)
	switch {
	case err != nil:
		return 0, fmt.Errorf("%q is not a number of bytes like 50M or 50MiB", text)
	case n > math.MaxInt64:
		return 0, fmt.Errorf("%q is too much", text)
	}
	return int64(n), nil
}

// FormatSize writes a number of bytes, with the largest unit of which it is a whole
// number, so that [ParseSize] reads the same one; beyond 2^53 it may be rounded.
func FormatSize(n int64) string {
	for _, u := range []struct {
		size int64
		name string
	}{{1 << 40, "TiB"}, {1e12, "T"}, {1 << 30, "GiB"}, {1e9, "G"}, {1 << 20, "MiB"}, {1e6, "M"}, {1 << 10, "KiB"}, {1e3, "k"}} {
		if n != 0 && n%u.size == 0 {
			return strconv.FormatInt(n/u.size, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10)
}
