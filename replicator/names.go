package replicator

import (
	"fmt"
	"strconv"
	"strings"
)

const (
	checkpointPrefix = "vmsync-"
	// PairLength is the number of hex digits in a pair's id.
	PairLength = 8
)

// ValidPair says whether s is a pair's id: 8 lower-case hex digits. Pairs become
// part of file, socket and checkpoint names, so everything that receives one
// checks it first.
func ValidPair(s string) bool {
	if len(s) != PairLength {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// CheckpointName names the checkpoint of a pair's generation:
// "vmsync-1f00ba12-7".
func CheckpointName(pair string, generation int64) string {
	return fmt.Sprintf("%s%s-%d", checkpointPrefix, pair, generation)
}

// ParseCheckpointName is the inverse of CheckpointName. Names that it would not
// have made, like those of other programs or with leading zeros, are not ok.
func ParseCheckpointName(name string) (pair string, generation int64, ok bool) {
	rest, found := strings.CutPrefix(name, checkpointPrefix)
	if !found {
		return "", 0, false
	}
	pair, number, found := strings.Cut(rest, "-")
	if !found || !ValidPair(pair) {
		return "", 0, false
	}
	generation, err := strconv.ParseInt(number, 10, 64)
	if err != nil || generation < 1 || CheckpointName(pair, generation) != name {
		return "", 0, false
	}
	return pair, generation, true
}
