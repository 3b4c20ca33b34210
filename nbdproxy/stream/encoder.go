package stream

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
)

// Encoder writes one stream. Data and Zero may be called by many goroutines at
// once; compression and hashing run in the caller, the writing is serial. The
// first error is final: every later call returns it.
type Encoder struct {
	w      io.Writer
	header Header
	key    uint64
	comp   *compressor
	pool   sync.Pool // of *scratch
	wire   atomic.Int64
	count  counters

	mu    sync.Mutex // guards what follows, and w
	err   error
	disks []DiskSum
	ended []bool
	over  bool
}

// scratch is one frame being made.
type scratch struct {
	head   []byte // frame header and extent table
	stored []byte
	vec    [2][]byte
}

// NewEncoder writes the header to w and returns the encoder of what follows. The
// caller closes w after [Encoder.End]. w gets one Write per frame part, unbuffered.
func NewEncoder(w io.Writer, h Header, m Mode) (*Encoder, error) {
	b, key, err := h.marshal()
	if err != nil {
		return nil, err
	}
	comp, err := newCompressor(m)
	if err != nil {
		return nil, err
	}
	e := &Encoder{
		w: w, header: h, key: key, comp: comp,
		disks: make([]DiskSum, len(h.Disks)), ended: make([]bool, len(h.Disks)),
	}
	e.pool.New = func() any {
		return &scratch{head: make([]byte, frameHeaderSize, 4<<10), stored: make([]byte, 0, compressBound())}
	}
	n, err := w.Write(b)
	e.wire.Add(int64(n))
	if err != nil {
		return nil, fmt.Errorf("writing the stream's header: %w", err)
	}
	return e, nil
}

// Wire returns the bytes written so far. It is safe for concurrent use.
func (e *Encoder) Wire() int64 { return e.wire.Load() }

// Data writes extents of a disk and their bytes, back to back in payload: at most
// [MaxExtents] and [MaxPayload], ascending and disjoint. It keeps neither slice.
func (e *Encoder) Data(disk int, extents []Extent, payload []byte) error {
	return e.frame(KindData, disk, extents, payload)
}

// Zero writes extents of a disk that read as zeros: at most [MaxExtents],
// ascending and disjoint, of any length.
func (e *Encoder) Zero(disk int, extents []Extent) error {
	return e.frame(KindZero, disk, extents, nil)
}

func (e *Encoder) frame(kind Kind, disk int, extents []Extent, payload []byte) error {
	if disk < 0 || disk >= len(e.disks) {
		return fmt.Errorf("stream has no disk %d", disk)
	}
	if len(extents) < 1 || len(extents) > MaxExtents || len(payload) > MaxPayload {
		return fmt.Errorf("frame of %d bytes in %d extents", len(payload), len(extents))
	}
	sum, err := checkExtents(extents, e.header.Disks[disk].Size)
	if err != nil {
		return err
	}
	if kind == KindData && sum != int64(len(payload)) {
		return fmt.Errorf("%d bytes for extents of %d", len(payload), sum)
	}
	s := e.pool.Get().(*scratch)
	defer e.pool.Put(s)
	h := frameHeader{kind: kind, disk: uint16(disk), extents: uint32(len(extents)), raw: uint32(len(payload))}
	stored := payload
	if kind == KindData {
		h.codec, stored = e.comp.compress(s.stored, payload)
	}
	h.stored = uint32(len(stored))
	s.head = appendExtents(s.head[:frameHeaderSize], extents)
	h.content = h.contentHash(s.head[frameHeaderSize:], payload, e.key)
	h.put(s.head, e.key)

	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err == nil && e.ended[disk] {
		return fmt.Errorf("frame of disk %q after its end", e.header.Disks[disk].Name)
	}
	if err := e.write(s, stored); err != nil {
		return err
	}
	e.disks[disk].add(kind, sum, h.content)
	e.count.add(kind, h.codec, len(payload), len(stored))
	return nil
}

// write sends a frame; the caller holds the lock.
func (e *Encoder) write(s *scratch, stored []byte) error {
	if e.err != nil {
		return e.err
	}
	s.vec[0], s.vec[1] = s.head, stored
	v := net.Buffers(s.vec[:])
	if len(stored) == 0 {
		v = v[:1]
	}
	n, err := v.WriteTo(e.w)
	s.vec = [2][]byte{}
	e.wire.Add(n)
	if err != nil {
		e.err = fmt.Errorf("writing the stream: %w", err)
	}
	return e.err
}

// EndDisk says that the disk is complete and returns its sum. All its Data and
// Zero calls must have returned.
func (e *Encoder) EndDisk(disk int) (DiskSum, error) {
	if disk < 0 || disk >= len(e.disks) {
		return DiskSum{}, fmt.Errorf("stream has no disk %d", disk)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	d, sum := e.header.Disks[disk], e.disks[disk]
	if e.ended[disk] {
		return DiskSum{}, fmt.Errorf("disk %q ended twice", d.Name)
	}
	if err := checkSum(d, sum); err != nil {
		return DiskSum{}, err
	}
	e.ended[disk] = true
	return sum, e.trailer(KindDiskEnd, disk, sum)
}

// End writes the end mark. Every disk must have ended.
func (e *Encoder) End() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	for i, ended := range e.ended {
		if !ended {
			return fmt.Errorf("end of the stream before the end of disk %q", e.header.Disks[i].Name)
		}
	}
	if e.over {
		return errors.New("stream ended twice")
	}
	e.over = true
	return e.trailer(kindEnd, 0, total(e.disks))
}

// trailer writes an end frame; the caller holds the lock.
func (e *Encoder) trailer(kind Kind, disk int, sum DiskSum) error {
	payload := sum.trailer()
	h := frameHeader{kind: kind, disk: uint16(disk), raw: trailerSize, stored: trailerSize}
	h.content = h.contentHash(nil, payload, e.key)
	s := &scratch{head: make([]byte, frameHeaderSize)}
	h.put(s.head, e.key)
	return e.write(s, payload)
}

// checkSum tells whether a disk's sum is possible: a full disk is covered
// exactly, an incremental one at most.
func checkSum(d Disk, sum DiskSum) error {
	n := sum.DataBytes + sum.ZeroBytes
	if n > d.Size || !d.Incremental && n != d.Size {
		return fmt.Errorf("disk %q has %d bytes, its extents %d", d.Name, d.Size, n)
	}
	return nil
}
