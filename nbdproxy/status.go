package nbdproxy

import (
	"context"
	"encoding/binary"
	"errors"
	"sync"
	"unsafe"
)

var errBadStatus = errors.New("the backend's block status makes no sense")

// statusEntries returns how many entries of each context a block status may have.
// What it needs for them is less than the segment that every connection is sure of.
func (t *transmission) statusEntries(r request) int {
	if r.CommandFlags&cmdFlagReqOne != 0 {
		return 1
	}
	n := int(min(uint32(maxStatusEntries), r.Length/t.export.BlockSizes.Minimum))
	return max(1, min(n, segment/4/statusEntrySize/len(t.contexts)))
}

const (
	statusHeaderSize = chunkHeaderSize + 4
	statusEntrySize  = 8
)

// statusSize returns the memory that a block status needs: of the reply, and for
// the backend to write its entries to.
func (t *transmission) statusSize(r request) (reply, scratch int) {
	n := t.statusEntries(r)
	return len(t.contexts) * (statusHeaderSize + statusEntrySize*n), n * int(unsafe.Sizeof(StatusEntry{}))
}

// scratch keeps memory for the entries of block status. The zero value is ready for
// use, by many goroutines at once.
type scratch struct{ pool sync.Pool }

func (s *scratch) get(n int) *[]StatusEntry {
	if e, ok := s.pool.Get().(*[]StatusEntry); ok && cap(*e) >= n {
		return e
	}
	e := make([]StatusEntry, 0, n)
	return &e
}

func (s *scratch) put(e *[]StatusEntry) { s.pool.Put(e) }

// doStatus answers with one chunk for each context, all of them in one piece.
func (t *transmission) doStatus(ctx context.Context, j *job) {
	limit := t.statusEntries(request{CommandFlags: j.flags, Length: j.length})
	entries := t.scratch.get(limit)
	defer t.scratch.put(entries)
	b := j.buf.b[:0]
	last := 0
	for id, name := range t.contexts {
		found, err := t.export.status.BlockStatus(ctx, name, (*entries)[:0], int64(j.offset), int64(j.length), limit)
		if err != nil {
			t.fail(j, err)
			return
		}
		if len(found) > limit {
			t.fail(j, errBadStatus)
			return
		}
		last = len(b)
		b = appendChunk(b, replyBlockStatus, j.handle, 0)
		notLast(b[last:])
		b = binary.BigEndian.AppendUint32(b, uint32(id))
		if b, err = appendStatus(b, found, t.export.BlockSizes.Minimum, j.length); err != nil {
			t.fail(j, err)
			return
		}
		binary.BigEndian.PutUint32(b[last+chunkHeaderSize-4:], uint32(len(b)-last-chunkHeaderSize))
	}
	binary.BigEndian.PutUint16(b[last+4:], replyFlagDone)
	j.headLen, j.body = 0, b
}

// appendStatus appends the entries of one context, neighbours with the same flags as one
// and nothing beyond length.
func appendStatus(b []byte, entries []StatusEntry, minimum, length uint32) ([]byte, error) {
	if len(entries) == 0 {
		return b, errBadStatus
	}
	left := int64(length)
	var run StatusEntry
	for _, e := range entries {
		if left == 0 {
			break
		}
		if e.Length < 1 || e.Length%int64(minimum) != 0 {
			return b, errBadStatus
		}
		e.Length = min(e.Length, left)
		left -= e.Length
		if e.Flags == run.Flags {
			run.Length += e.Length
			continue
		}
		b = run.append(b)
		run = e
	}
	return run.append(b), nil
}

// append encodes an entry, unless it is empty.
func (e StatusEntry) append(b []byte) []byte {
	if e.Length == 0 {
		return b
	}
	b = binary.BigEndian.AppendUint32(b, uint32(e.Length))
	return binary.BigEndian.AppendUint32(b, e.Flags)
}
