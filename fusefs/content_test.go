package fusefs

import (
	"testing"
	"time"
)

// crumbs is data that is told of byte by byte.
type crumbs int64

func (c crumbs) Size() int64                                  { return int64(c) }
func (c crumbs) ReadAt(p []byte, _ int64) (int, error)        { return len(p), nil }
func (c crumbs) Data(off int64) (start, end int64, err error) { return off, off + 1, nil }

// TestDataInPiecesWithoutNumber would take for ever if it were counted to its end.
func TestDataInPiecesWithoutNumber(t *testing.T) {
	const size = 1 << 60
	until := time.Now().Add(50 * time.Millisecond)
	if sum, err := dataBytes(crumbs(size), until); err != nil || sum != size {
		t.Errorf("%d bytes of data, %v", sum, err)
	}
	if off, err := holeAfter(crumbs(size), 5, until); err != nil || off != size {
		t.Errorf("a hole at %d, %v", off, err)
	}
	later := time.Now().Add(time.Hour)
	if sum, err := dataBytes(crumbs(1000), later); err != nil || sum != 1000 {
		t.Errorf("%d bytes of data, %v", sum, err)
	}
	if off, err := holeAfter(newSparse(), 128<<10, later); err != nil || off != 128<<10+sparseData {
		t.Errorf("a hole at %d, %v", off, err)
	}
}
