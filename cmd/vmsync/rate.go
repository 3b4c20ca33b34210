package main

import (
	"fmt"
	"math"

	"github.com/dustin/go-humanize"
)

// minRate is the least that --rate takes, in bytes per second: with less, nothing
// would come through before both ends took each other for dead.
const minRate = 1000

// parseRate reads bytes per second: 50M is 50,000,000, 50MiB is 52,428,800. Empty is
// no limit.
func parseRate(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	n, err := humanize.ParseBytes(s)
	switch {
	case err != nil:
		return 0, fmt.Errorf("--rate: %q is not a number of bytes like 50M or 50MiB", s)
	case n < minRate:
		return 0, fmt.Errorf("--rate: %q is less than %d bytes per second", s, minRate)
	case n > math.MaxInt64:
		return 0, fmt.Errorf("--rate: %q is too much", s)
	}
	return int64(n), nil
}
