package units

import "fmt"

// MinRate is the least rate that there is, in bytes per second: with less, nothing would
// come through before both ends took each other for dead.
const MinRate = 1000

// ParseRate reads bytes per second, at least [MinRate], as [ParseSize] does: 50M is
// 50,000,000, 50MiB is 52,428,800.
func ParseRate(text string) (int64, error) {
	n, err := ParseSize(text)
	if err == nil && n < MinRate {
		err = fmt.Errorf("%q is less than %d bytes per second", text, MinRate)
	}
	if err != nil {
		return 0, err
	}
	return n, nil
}
