package apply

import (
	"maps"
	"math/bits"
	"slices"
	"sync"
)

// setWords is the size of a part of a blockSet: 4 KiB, for 2 GiB of disk.
const setWords = 512

// blockSet is a set of blocks, at most a bit for each. It is safe for concurrent use.
type blockSet struct {
	mu    sync.Mutex
	parts map[int64]*[setWords]uint64
}

func (s *blockSet) add(block int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := block / (setWords * 64)
	if s.parts == nil {
		s.parts = map[int64]*[setWords]uint64{}
	}
	if s.parts[n] == nil {
		s.parts[n] = new([setWords]uint64)
	}
	s.parts[n][block/64%setWords] |= 1 << (block % 64)
}

// take removes up to n blocks, the first ones, and appends them to blocks.
func (s *blockSet) take(blocks []int64, n int) []int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range slices.Sorted(maps.Keys(s.parts)) {
		part := s.parts[p]
		for w := range part {
			for part[w] != 0 {
				if n == 0 {
					return blocks
				}
				bit := bits.TrailingZeros64(part[w])
				part[w] &^= 1 << bit
				blocks = append(blocks, (p*setWords+int64(w))*64+int64(bit))
				n--
			}
		}
		delete(s.parts, p)
	}
	return blocks
}
