package stream

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"vmsync/nbdproxy/spec"
)

// Encoder writes one stream, over one connection or several. Data and Zero may be
// called by many goroutines at once; compression and hashing run in the caller,
// each frame is written to whichever connection is free. The first error is final:
// every later call returns it.
type Encoder struct {
	header Header
	key    uint64
	comp   *compressor
	pool   sync.Pool // of *scratch
	wire   atomic.Int64
	main   *outlet
	others []*outlet
	free   chan *outlet // those that nobody writes to
	count  counters

	mu    sync.Mutex // guards what follows
	err   error
	disks []DiskSum
	ended []bool
	over  bool
}

// scratch is one frame being made.
type scratch struct {
	head   []byte // frame header and extent table
	stored []byte
}

// NewEncoder writes the header to the first of at most [MaxLanes] writers and makes
// all of them carry the stream. The caller closes them after [Encoder.End]. One that
// has a method Flush() error gets it called after each frame, and one that has
// Stalled() time.Duration is asked for how long it has had to wait for its other end.
func NewEncoder(h Header, c spec.Compression, ws ...io.Writer) (*Encoder, error) {
	if len(ws) < 1 || len(ws) > MaxLanes {
		return nil, fmt.Errorf("a stream over %d connections; 1 to %d are possible", len(ws), MaxLanes)
	}
	b, key, err := h.marshal()
	if err != nil {
		return nil, err
	}
	comp, err := newCompressor(c, ws)
	if err != nil {
		return nil, err
	}
	e := &Encoder{
		header: h, key: key, comp: comp, free: make(chan *outlet, len(ws)),
		disks: make([]DiskSum, len(h.Disks)), ended: make([]bool, len(h.Disks)),
	}
	e.pool.New = func() any {
		return &scratch{head: make([]byte, frameHeaderSize, 4<<10), stored: make([]byte, 0, compressBound())}
	}
	for i, w := range ws {
		o := &outlet{w: w}
		if i == 0 {
			e.main = o
		} else {
			e.others = append(e.others, o)
			b = lanePreface(i, key)
		}
		if err := e.write(o, b, nil); err != nil {
			return nil, fmt.Errorf("writing the stream's header: %w", err)
		}
		e.free <- o
	}
	return e, nil
}

// Wire returns the bytes written so far. It is safe for concurrent use.
func (e *Encoder) Wire() int64 { return e.wire.Load() }

// LinkBound tells whether the connections, and not reading or compressing, lately held the
// stream up. Only with compression "auto" is that looked at.
func (e *Encoder) LinkBound() bool { return e.comp.linkBound.Load() }

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
	var p packed
	if kind == KindData {
		if p, err = e.comp.compress(s.stored, payload); err != nil {
			return err
		}
	}
	h.codec, h.stored = p.codec, uint32(len(p.bytes))
	s.head = appendExtents(s.head[:frameHeaderSize], extents)
	h.content = h.contentHash(s.head[frameHeaderSize:], payload, e.key)
	h.put(s.head, e.key)

	o := <-e.free
	defer func() { e.free <- o }()
	if err := e.failure(disk); err != nil {
		return err
	}
	if err := e.write(o, s.head, p.bytes); err != nil {
		return e.fail(err)
	}
	o.sent.add(kind, sum, h.content)
	e.comp.sent(p, len(payload))
	e.count.add(kind, p.codec, len(payload), len(p.bytes))
	e.mu.Lock()
	defer e.mu.Unlock()
	e.disks[disk].add(kind, sum, h.content)
	return nil
}

// failure tells why no frame of a disk may be written any more; nil if one may.
func (e *Encoder) failure(disk int) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err == nil && e.ended[disk] {
		return fmt.Errorf("frame of disk %q after its end", e.header.Disks[disk].Name)
	}
	return e.err
}

// fail keeps the first error and returns it.
func (e *Encoder) fail(err error) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err == nil {
		e.err = fmt.Errorf("writing the stream: %w", err)
	}
	return e.err
}

// write sends a frame; the caller has the outlet to itself.
func (e *Encoder) write(o *outlet, head, stored []byte) error {
	for _, b := range [][]byte{head, stored} {
		if len(b) == 0 {
			continue
		}
		n, err := o.w.Write(b)
		e.wire.Add(int64(n))
		if err != nil {
			return err
		}
	}
	if f, ok := o.w.(flusher); ok {
		return f.Flush()
	}
	return nil
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
	return sum, e.err
}

// End writes the disks' ends and the end mark. Every disk must have ended.
func (e *Encoder) End() error {
	if err := e.startEnd(); err != nil {
		return err
	}
	for range cap(e.free) {
		<-e.free
	}
	for _, o := range e.others {
		if err := e.trailer(o, kindLaneEnd, 0, o.sent); err != nil {
			return e.fail(err)
		}
	}
	for i, sum := range e.disks {
		if err := e.trailer(e.main, KindDiskEnd, i, sum); err != nil {
			return e.fail(err)
		}
	}
	if err := e.trailer(e.main, kindEnd, 0, total(e.disks)); err != nil {
		return e.fail(err)
	}
	return nil
}

func (e *Encoder) startEnd() error {
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
	return e.err
}

// trailer writes an end frame; the caller has the outlet to itself.
func (e *Encoder) trailer(o *outlet, kind Kind, disk int, sum DiskSum) error {
	payload := sum.trailer()
	h := frameHeader{kind: kind, disk: uint16(disk), raw: trailerSize, stored: trailerSize}
	h.content = h.contentHash(nil, payload, e.key)
	head := make([]byte, frameHeaderSize)
	h.put(head, e.key)
	return e.write(o, head, payload)
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
