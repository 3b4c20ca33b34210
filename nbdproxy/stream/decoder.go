package stream

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/klauspost/compress/zstd"
)

// Decoder reads one stream, from one connection or several. After an error it is
// of no more use.
type Decoder struct {
	lanes  []*Lane
	header *Header
	key    uint64
	zstd   *zstd.Decoder
	wire   atomic.Int64
	opened atomic.Int64
	count  counters

	mu       sync.Mutex // guards what follows
	issued   int64
	disks    []DiskSum
	coverage []coverage
	ended    []bool
	claims   []DiskSum // what the disks' ends say
	claim    DiskSum   // what the end mark says
	open     int       // lanes that have not ended
	done     bool
}

// Lane is one connection of a stream. Its Next is called by one goroutine at a
// time; the frames it fills may be opened by others.
type Lane struct {
	d    *Decoder
	r    *bufio.Reader
	main bool
	sum  DiskSum // of the frames that came this way
	over bool
}

// NewDecoder reads the header, which comes over one of the connections, and the
// prefaces of the others. Whatever the readers claim, it takes no more memory than
// the limits of this package allow.
func NewDecoder(rs ...io.Reader) (*Decoder, error) {
	if len(rs) < 1 || len(rs) > MaxLanes {
		return nil, fmt.Errorf("a stream over %d connections; 1 to %d are possible", len(rs), MaxLanes)
	}
	d := &Decoder{open: len(rs)}
	var others [][]byte
	for _, r := range rs {
		l := &Lane{d: d, r: bufio.NewReaderSize(&counter{r: r, n: &d.wire}, 64<<10)}
		d.lanes = append(d.lanes, l)
		preface := make([]byte, prefaceSize)
		if err := readFull(l.r, preface); err != nil {
			return nil, err
		}
		if len(rs) > 1 && string(preface[:len(laneMagic)]) == laneMagic {
			others = append(others, preface)
			continue
		}
		if d.header != nil {
			return nil, fmt.Errorf("%w: two of its connections bring a header", ErrInvalid)
		}
		var err error
		if d.header, d.key, err = readHeader(preface, l.r); err != nil {
			return nil, err
		}
		l.main = true
	}
	if d.header == nil {
		return nil, fmt.Errorf("%w: none of its connections brings the header", ErrInvalid)
	}
	if err := checkLanes(others, d.key); err != nil {
		return nil, err
	}
	var err error
	if d.zstd, err = newDecompressor(); err != nil {
		return nil, err
	}
	n := len(d.header.Disks)
	d.disks, d.coverage, d.ended, d.claims = make([]DiskSum, n), make([]coverage, n), make([]bool, n), make([]DiskSum, n)
	return d, nil
}

// checkLanes makes sure that the further connections belong to the stream, each
// once.
func checkLanes(prefaces [][]byte, key uint64) error {
	seen := make(map[int]bool)
	for _, b := range prefaces {
		n, err := checkLanePreface(b, key)
		if err != nil {
			return err
		}
		if seen[n] {
			return fmt.Errorf("%w: two connections with the number %d", ErrInvalid, n)
		}
		seen[n] = true
	}
	return nil
}

// Lanes returns the connections, in the order of the readers.
func (d *Decoder) Lanes() []*Lane { return d.lanes }

// Header returns what the stream says it carries. Compare it with what was asked
// for before using a frame.
func (d *Decoder) Header() *Header { return d.header }

// Wire returns the bytes read so far. It is safe for concurrent use.
func (d *Decoder) Wire() int64 { return d.wire.Load() }

// Close frees what the decoder holds; no frame may be opened afterwards. It does
// not close the readers.
func (d *Decoder) Close() { d.zstd.Close() }

// Frame is one frame of a stream. Its memory is its own and is used again by the
// next call of [Decoder.Next] with it; the zero value is ready to use.
type Frame struct {
	Kind    Kind
	Disk    int // index in Header.Disks
	Extents []Extent
	Sum     DiskSum // of KindDiskEnd

	head frameHeader
	buf  []byte // extent table and payload as stored
	from *Decoder
}

// Bytes is the sum of the extents' lengths.
func (f *Frame) Bytes() int64 {
	var n int64
	for _, e := range f.Extents {
		n += e.Length
	}
	return n
}

// Next reads the next frame of the connection into f. Its extents are within the
// disk, ascending and disjoint, but what it says is verified only by [Frame.Open],
// which must be called once for every data and zero frame. Next returns io.EOF after
// the connection's end mark when nothing follows it; [ErrTruncated], [ErrInvalid] or
// the reader's error otherwise. The sums of disks that their ends give are certain
// only when every connection has ended.
func (l *Lane) Next(f *Frame) error {
	if l.over {
		return io.EOF
	}
	if err := l.read(f); err != nil {
		return err
	}
	err := l.d.account(l, f)
	if err == nil && (f.Kind == kindEnd || f.Kind == kindLaneEnd) {
		return l.finish()
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return nil
}

// read fills f with a frame whose lengths are within bounds.
func (l *Lane) read(f *Frame) error {
	var b [frameHeaderSize]byte
	if err := readFull(l.r, b[:]); err != nil {
		return err
	}
	if err := f.head.parse(b[:], l.d.key); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	n := int(f.head.extents)*extentSize + int(f.head.stored)
	if cap(f.buf) < n {
		f.buf = make([]byte, n, n+n/4)
	}
	f.buf = f.buf[:n]
	f.Kind, f.Disk, f.from = f.head.kind, int(f.head.disk), l.d
	f.Sum, f.Extents = DiskSum{}, f.Extents[:0]
	return readFull(l.r, f.buf)
}

// account checks f against what came before.
func (d *Decoder) account(l *Lane, f *Frame) error {
	if l.main && f.Kind == kindLaneEnd || !l.main && (f.Kind == kindEnd || f.Kind == KindDiskEnd) {
		return fmt.Errorf("frame of type %d on the wrong connection", f.Kind)
	}
	switch f.Kind {
	case kindEnd:
		return d.endMark(f)
	case kindLaneEnd:
		sum, err := f.claim()
		if err == nil && sum != l.sum {
			err = errors.New("the frames of a connection do not add up to what its end says")
		}
		return err
	}
	if f.Disk >= len(d.disks) {
		return fmt.Errorf("frame of disk %d; the header names %d", f.Disk, len(d.disks))
	}
	disk := d.header.Disks[f.Disk]
	if l.main && d.ended[f.Disk] {
		return fmt.Errorf("frame of disk %q after its end", disk.Name)
	}
	if f.Kind == KindDiskEnd {
		return d.endDisk(f, disk)
	}
	f.Extents = parseExtents(f.Extents, f.table())
	sum, err := checkExtents(f.Extents, disk.Size)
	if err != nil {
		return fmt.Errorf("disk %q: %w", disk.Name, err)
	}
	if f.Kind == KindData && sum != int64(f.head.raw) {
		return fmt.Errorf("disk %q: %d bytes for extents of %d", disk.Name, f.head.raw, sum)
	}
	l.sum.add(f.Kind, sum, f.head.content)
	return d.tally(f, disk, sum)
}

// tally adds a frame to its disk's.
func (d *Decoder) tally(f *Frame, disk Disk, sum int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, e := range f.Extents {
		if err := d.coverage[f.Disk].mark(e, disk.Size); err != nil {
			return fmt.Errorf("disk %q: %w", disk.Name, err)
		}
	}
	s := &d.disks[f.Disk]
	if s.DataBytes+s.ZeroBytes > disk.Size-sum {
		return fmt.Errorf("disk %q: its extents exceed its size", disk.Name)
	}
	s.add(f.Kind, sum, f.head.content)
	d.count.add(f.Kind, f.head.codec, int(f.head.raw), int(f.head.stored))
	d.issued++
	return nil
}

// endDisk takes a disk's end. Frames of it may still come over other connections.
func (d *Decoder) endDisk(f *Frame, disk Disk) error {
	sum, err := f.claim()
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ended[f.Disk], d.claims[f.Disk], f.Sum = true, sum, sum
	if d.open > 1 {
		return nil
	}
	return d.checkDisk(f.Disk)
}

// checkDisk compares a disk with what its end says; the caller holds the lock.
func (d *Decoder) checkDisk(i int) error {
	disk := d.header.Disks[i]
	if d.claims[i] != d.disks[i] {
		return fmt.Errorf("disk %q: the frames do not add up to what its end says", disk.Name)
	}
	d.coverage[i] = coverage{}
	return checkSum(disk, d.disks[i])
}

// endMark takes the end mark.
func (d *Decoder) endMark(f *Frame) error {
	for i, ended := range d.ended {
		if !ended {
			return fmt.Errorf("the end mark comes before the end of disk %q", d.header.Disks[i].Name)
		}
	}
	sum, err := f.claim()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.claim = sum
	return err
}

// finish makes sure that nothing follows the connection's end; on the last
// connection, that everything adds up.
func (l *Lane) finish() error {
	switch _, err := l.r.ReadByte(); err {
	case io.EOF:
	case nil:
		return fmt.Errorf("%w: bytes follow the end mark", ErrInvalid)
	default:
		return fmt.Errorf("reading the stream: %w", err)
	}
	if err := l.d.laneEnded(); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	l.over = true
	return io.EOF
}

func (d *Decoder) laneEnded() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open--; d.open > 0 {
		return nil
	}
	for i := range d.disks {
		if err := d.checkDisk(i); err != nil {
			return err
		}
	}
	if d.claim != total(d.disks) {
		return errors.New("the disks do not add up to what the end mark says")
	}
	d.done = true
	return nil
}

// Result returns the sum of each disk. It is an error unless Next has returned
// io.EOF for every connection and every frame was opened: only then is the stream
// complete and verified. Frames must not be opened at the same time.
func (d *Decoder) Result() ([]DiskSum, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.done {
		return nil, ErrTruncated
	}
	if n := d.opened.Load(); n != d.issued {
		return nil, fmt.Errorf("%d of %d frames were verified", n, d.issued)
	}
	return d.disks, nil
}

func (f *Frame) table() []byte  { return f.buf[:int(f.head.extents)*extentSize] }
func (f *Frame) stored() []byte { return f.buf[int(f.head.extents)*extentSize:] }

// Open decompresses and verifies the frame. The payload is in the frame's own
// memory or in dst, which needs a capacity of [MaxPayload] bytes; it is empty for zero frames.
// Different frames may be opened at the same time.
func (f *Frame) Open(dst []byte) ([]byte, error) {
	payload := f.stored()
	if f.head.codec != CodecNone {
		payload = dst[:f.head.raw]
		if err := decompress(f.from.zstd, f.head.codec, payload, f.stored()); err != nil {
			return nil, fmt.Errorf("%w: disk %q: %w", ErrInvalid, f.from.header.Disks[f.Disk].Name, err)
		}
	}
	if err := f.verify(payload); err != nil {
		return nil, fmt.Errorf("%w: disk %q: %w", ErrInvalid, f.from.header.Disks[f.Disk].Name, err)
	}
	f.from.opened.Add(1)
	return payload, nil
}

// verify compares the frame with its content hash.
func (f *Frame) verify(payload []byte) error {
	if f.head.contentHash(f.table(), payload, f.from.key) != f.head.content {
		return errors.New("a frame's content does not match its checksum")
	}
	return nil
}

// claim verifies an end and returns what it says.
func (f *Frame) claim() (DiskSum, error) {
	if err := f.verify(f.stored()); err != nil {
		return DiskSum{}, err
	}
	return parseTrailer(f.stored()), nil
}

// counter counts what is read through it.
type counter struct {
	r io.Reader
	n *atomic.Int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	return n, err
}
