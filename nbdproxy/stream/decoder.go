package stream

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/klauspost/compress/zstd"
)

// Decoder reads one stream. Next is called by one goroutine; the frames it fills
// may be opened by others. After an error the decoder is of no more use.
type Decoder struct {
	r      *bufio.Reader
	header *Header
	key    uint64
	zstd   *zstd.Decoder
	wire   atomic.Int64
	opened atomic.Int64
	count  counters

	issued   int64
	disks    []DiskSum
	coverage []coverage
	ended    []bool
	done     bool
}

// NewDecoder reads the header. Whatever r claims, it takes no more memory than
// the limits of this package allow.
func NewDecoder(r io.Reader) (*Decoder, error) {
	d := &Decoder{}
	d.r = bufio.NewReaderSize(&counter{r: r, n: &d.wire}, 64<<10)
	var err error
	if d.header, d.key, err = readHeader(d.r); err != nil {
		return nil, err
	}
	if d.zstd, err = newDecompressor(); err != nil {
		return nil, err
	}
	n := len(d.header.Disks)
	d.disks, d.coverage, d.ended = make([]DiskSum, n), make([]coverage, n), make([]bool, n)
	return d, nil
}

// Header returns what the stream says it carries. Compare it with what was asked
// for before using a frame.
func (d *Decoder) Header() *Header { return d.header }

// Wire returns the bytes read so far. It is safe for concurrent use.
func (d *Decoder) Wire() int64 { return d.wire.Load() }

// Close frees what the decoder holds; no frame may be opened afterwards. It does
// not close the reader.
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

// Next reads the next frame into f. Its extents are within the disk, ascending
// and disjoint, but what it says is verified only by [Frame.Open], which must be
// called once for every data and zero frame. Next returns io.EOF after the end mark when
// nothing follows it; [ErrTruncated], [ErrInvalid] or the reader's error
// otherwise.
func (d *Decoder) Next(f *Frame) error {
	if d.done {
		return io.EOF
	}
	if err := d.read(f); err != nil {
		return err
	}
	err := d.account(f)
	if err != nil && err != io.EOF {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if err == io.EOF {
		return d.finish()
	}
	return err
}

// read fills f with a frame whose lengths are within bounds.
func (d *Decoder) read(f *Frame) error {
	var b [frameHeaderSize]byte
	if err := readFull(d.r, b[:]); err != nil {
		return err
	}
	if err := f.head.parse(b[:], d.key); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	n := int(f.head.extents)*extentSize + int(f.head.stored)
	if cap(f.buf) < n {
		f.buf = make([]byte, n, n+n/4)
	}
	f.buf = f.buf[:n]
	f.Kind, f.Disk, f.from = f.head.kind, int(f.head.disk), d
	f.Sum, f.Extents = DiskSum{}, f.Extents[:0]
	return readFull(d.r, f.buf)
}

// account checks f against what came before. It returns io.EOF for the end mark.
func (d *Decoder) account(f *Frame) error {
	if f.Kind == kindEnd {
		return d.checkEnd(f)
	}
	if f.Disk >= len(d.disks) {
		return fmt.Errorf("frame of disk %d; the header names %d", f.Disk, len(d.disks))
	}
	disk := d.header.Disks[f.Disk]
	if d.ended[f.Disk] {
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

func (d *Decoder) endDisk(f *Frame, disk Disk) error {
	sum := d.disks[f.Disk]
	if err := f.verify(f.stored()); err != nil {
		return err
	}
	if !bytes.Equal(f.stored(), sum.trailer()) {
		return fmt.Errorf("disk %q: the frames do not add up to what its end says", disk.Name)
	}
	if err := checkSum(disk, sum); err != nil {
		return err
	}
	d.ended[f.Disk], d.coverage[f.Disk] = true, coverage{}
	f.Sum = sum
	return nil
}

func (d *Decoder) checkEnd(f *Frame) error {
	for i, ended := range d.ended {
		if !ended {
			return fmt.Errorf("the end mark comes before the end of disk %q", d.header.Disks[i].Name)
		}
	}
	if err := f.verify(f.stored()); err != nil {
		return err
	}
	sum := total(d.disks)
	if !bytes.Equal(f.stored(), sum.trailer()) {
		return errors.New("the disks do not add up to what the end mark says")
	}
	return io.EOF
}

// finish makes sure that nothing follows the end mark.
func (d *Decoder) finish() error {
	switch _, err := d.r.ReadByte(); err {
	case io.EOF:
		d.done = true
		return io.EOF
	case nil:
		return fmt.Errorf("%w: bytes follow the end mark", ErrInvalid)
	default:
		return fmt.Errorf("reading the stream: %w", err)
	}
}

// Result returns the sum of each disk. It is an error unless Next has returned
// io.EOF and every frame was opened: only then is the stream complete and
// verified. Frames must not be opened at the same time.
func (d *Decoder) Result() ([]DiskSum, error) {
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
