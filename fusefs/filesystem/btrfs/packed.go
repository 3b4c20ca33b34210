package btrfs

import (
	"bytes"
	"fmt"
	"io"

	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
)

// plainExtent is a decompressed extent.
type plainExtent struct {
	diskSize, size uint64
	compression    uint8
	verified       bool
	b              []byte
}

// readPacked fills p from the byte at off of an extent that is compressed or inline.
func (r *reader) readPacked(p []byte, verify bool, e *extent, off uint64) error {
	if e.kind == extentInline {
		plain := e.inline
		if e.compression != compressNone {
			plain = make([]byte, e.plainSize)
			if err := r.decompress(plain, e.inline, e.compression); err != nil {
				return err
			}
		}
		copy(p, plain[off:])
		return nil
	}
	off += e.offset
	if cached, ok := r.extents.get(e.disk); ok && cached.size == e.plainSize && cached.diskSize == e.diskSize &&
		cached.compression == e.compression && cached.verified == verify {
		copy(p, cached.b[off:])
		return nil
	}
	buffer := r.packed.Get().(*[maxExtent]byte)
	defer r.packed.Put(buffer)
	packed := buffer[:e.diskSize]
	if err := r.readRange(packed, e.disk, verify); err != nil {
		return err
	}
	plain := p
	whole := off == 0 && uint64(len(p)) == e.plainSize
	if !whole {
		plain = make([]byte, e.plainSize)
	}
	if err := r.decompress(plain, packed, e.compression); err != nil {
		return fmt.Errorf("address %d: %w", e.disk, err)
	}
	if !whole {
		copy(p, plain[off:])
		r.extents.put(e.disk, &plainExtent{e.diskSize, e.plainSize, e.compression, verify, plain})
	}
	return nil
}

// decompress fills plain, with zeros where packed holds less than that.
func (r *reader) decompress(plain, packed []byte, compression uint8) error {
	var n int
	var err error
	switch compression {
	case compressZlib:
		n, err = r.inflate(plain, packed)
	case compressLZO:
		n, err = unpackLZO(plain, packed, int(r.super.sectorSize))
	case compressZstd:
		n, err = r.unpackZstd(plain, packed)
	}
	if err != nil {
		return corrupt("a compressed extent: %v", err)
	}
	clear(plain[n:])
	return nil
}

func (r *reader) inflate(plain, packed []byte) (int, error) {
	z, _ := r.inflaters.Get().(io.Reader)
	var err error
	if z == nil {
		z, err = zlib.NewReader(bytes.NewReader(packed))
	} else {
		err = z.(zlib.Resetter).Reset(bytes.NewReader(packed), nil)
	}
	if err != nil {
		return 0, err
	}
	defer r.inflaters.Put(z)
	n, err := io.ReadFull(z, plain)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		// Either the stream ended, or packed did within it.
		if _, err := z.Read(make([]byte, 1)); err != io.EOF {
			return n, err
		}
		err = nil
	}
	return n, err
}

func (r *reader) unpackZstd(plain, packed []byte) (int, error) {
	frame, err := zstdFrame(packed)
	if err != nil {
		return 0, err
	}
	out, err := r.zstd.DecodeAll(frame, plain[:0:len(plain)])
	if len(out) > len(plain) {
		return 0, fmt.Errorf("%d bytes instead of %d", len(out), len(plain))
	}
	return copy(plain, out), err // in place already, as a rule
}

// zstdFrame cuts off what follows the first frame of b: an extent on disk ends with zeros.
func zstdFrame(b []byte) ([]byte, error) {
	var header zstd.Header
	if err := header.Decode(b); err != nil {
		return nil, err
	}
	if header.Skippable {
		return nil, fmt.Errorf("a skippable frame")
	}
	for off := header.HeaderSize; off+3 <= len(b); {
		block := int(b[off]) | int(b[off+1])<<8 | int(b[off+2])<<16
		size := block >> 3
		if block>>1&3 == 1 { // one byte, repeated
			size = 1
		}
		off += 3 + size
		if block&1 == 0 {
			continue
		}
		if header.HasCheckSum {
			off += 4
		}
		if off <= len(b) {
			return b[:off], nil
		}
	}
	return nil, io.ErrUnexpectedEOF
}
