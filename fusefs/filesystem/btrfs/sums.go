package btrfs

import (
	"cmp"
	"slices"
	"sort"
)

// sums finds the checksums of data: one for each sector, by its logical address.
type sums struct {
	tree *tree
	// logged are those of all logs, which go before the tree's. They are sorted by address
	// and do not overlap once they are settled.
	logged []loggedSums
}

type loggedSums struct {
	logical uint64
	sums    []byte
}

// settle sorts what logs have brought. Where subvolumes share data, each one's log may have
// its checksums; they are kept once.
func (s *sums) settle() {
	super := s.tree.r.super
	size, sector := uint64(super.csum.size), uint64(super.sectorSize)
	slices.SortFunc(s.logged, func(a, b loggedSums) int { return cmp.Compare(a.logical, b.logical) })
	kept, end := s.logged[:0], uint64(0)
	for _, run := range s.logged {
		if run.logical < end {
			skip := (end - run.logical + sector - 1) / sector
			if skip >= uint64(len(run.sums))/size {
				continue
			}
			run = loggedSums{run.logical + skip*sector, run.sums[skip*size:]}
		}
		kept, end = append(kept, run), run.logical+uint64(len(run.sums))/size*sector
	}
	s.logged = kept
}

// at returns the checksums of the sectors from logical on, as many as lie together;
// none where the first one has none.
func (s *sums) at(logical uint64) ([]byte, error) {
	super := s.tree.r.super
	size, sector := uint64(super.csum.size), uint64(super.sectorSize)
	i := sort.Search(len(s.logged), func(i int) bool { return s.logged[i].logical > logical })
	if i > 0 {
		run := s.logged[i-1]
		if skip := (logical - run.logical) / sector * size; skip < uint64(len(run.sums)) {
			found := run.sums[skip:]
			return s.limit(found, logical, i), nil
		}
	}
	c, err := s.tree.floor(key{objectCsums, kindExtentCsum, logical})
	if err != nil || !c.in(objectCsums, kindExtentCsum) || c.at.offset > logical {
		return nil, err
	}
	if uint64(len(c.item))%size != 0 || (logical-c.at.offset)%sector != 0 {
		return nil, corrupt("checksums of address %d: %d bytes at %d", logical, len(c.item), c.at.offset)
	}
	skip := (logical - c.at.offset) / sector
	if skip >= uint64(len(c.item))/size {
		return nil, nil
	}
	return s.limit(c.item[skip*size:], logical, i), nil
}

// limit cuts found, the checksums from logical on, where the i-th run of a log begins.
func (s *sums) limit(found []byte, logical uint64, i int) []byte {
	if i == len(s.logged) {
		return found
	}
	super := s.tree.r.super
	sectors := (s.logged[i].logical - logical) / uint64(super.sectorSize)
	if sectors < uint64(len(found)/super.csum.size) {
		return found[:sectors*uint64(super.csum.size)]
	}
	return found
}
