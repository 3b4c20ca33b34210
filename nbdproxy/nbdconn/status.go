package nbdconn

import (
	"errors"
	"fmt"
)

// Status is one entry of a block-status reply: Length bytes share Flags, whose
// meaning is the metadata context's.
type Status struct {
	Length uint32
	Flags  uint32
}

// BlockStatus asks for the block status of length bytes (at most 2^32-1) at
// offset and returns the entries of each context, in the order of contexts. The
// entries of a context begin at offset and may cover less or more than was asked
// for, and each context its own part; all of them cover at least one byte.
func (c *Conn) BlockStatus(offset, length int64, contexts []string) ([][]Status, error) {
	if c.h == nil {
		return nil, errClosed
	}
	got := make([][]Status, len(contexts))
	var bad error
	// libnbd calls back on this goroutine's thread, before BlockStatus returns.
	err := c.h.BlockStatus(uint64(length), uint64(offset), func(name string, at uint64, entries []uint32, errno *int) int {
		for i, want := range contexts {
			if name != want {
				continue
			}
			if got[i] != nil || at != uint64(offset) {
				bad = fmt.Errorf("context %q: reply for offset %d to a question about %d", name, at, offset)
			}
			got[i], bad = parseStatus(entries, bad)
		}
		return 0
	}, nil)
	if err = errors.Join(err, bad); err != nil {
		return nil, err
	}
	for i, name := range contexts {
		if len(got[i]) == 0 {
			return nil, fmt.Errorf("the reply lacks the metadata context %q", name)
		}
	}
	return got, nil
}

// parseStatus takes the pairs of numbers apart. It keeps an earlier error.
func parseStatus(entries []uint32, err error) ([]Status, error) {
	if len(entries)%2 != 0 && err == nil {
		err = errors.New("odd number of words in a block-status reply")
	}
	s := make([]Status, 0, len(entries)/2)
	for i := 0; i+1 < len(entries); i += 2 {
		if entries[i] == 0 && err == nil {
			err = errors.New("entry of no length in a block-status reply")
		}
		s = append(s, Status{Length: entries[i], Flags: entries[i+1]})
	}
	return s, err
}
