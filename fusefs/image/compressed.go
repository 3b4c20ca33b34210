package image

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zstd"
)

// maxWindow bounds the memory that a zstd frame may ask for. The format recommends to
// support 8 MiB, and clusters are smaller.
const maxWindow = 8 << 20

// readCompressed reads from position at of the disk, which lies in a compressed cluster, and
// on in those after it: clusters whose entries are the same make one run.
func (c *Cache) readCompressed(f *file, entry uint64, p []byte, at int64) error {
	for size := f.clusterSize(); len(p) > 0; {
		within := at & (size - 1)
		n := min(int64(len(p)), size-within)
		if err := c.readCluster(f, entry, p[:n], within); err != nil {
			return err
		}
		p, at = p[n:], at+n
	}
	return nil
}

// readCluster reads a part of one compressed cluster.
func (c *Cache) readCluster(f *file, entry uint64, p []byte, within int64) error {
	size := f.clusterSize()
	key := blockKey{f.id, entry &^ (3 << 62)}
	if b, found := c.blocks.Lookup(key); found {
		copy(p, b.cluster[within:])
		return nil
	}
	if int64(len(p)) == size {
		return c.decompress(f, entry, p)
	}
	b, err := c.blocks.Load(key, func() (block, int64, error) {
		cluster := make([]byte, size)
		return block{cluster: cluster}, size, c.decompress(f, entry, cluster)
	})
	if err == nil {
		copy(p, b.cluster[within:])
	}
	return err
}

// decompress fills a cluster (Compressed Clusters Descriptor).
func (c *Cache) decompress(f *file, entry uint64, cluster []byte) error {
	bits := 62 - (f.clusterBits - 8)
	at := int64(entry & (1<<bits - 1))
	sectors := int64(entry>>bits&(1<<(f.clusterBits-8)-1)) + 1
	size := sectors*512 - at&511
	if !f.reaches(at) {
		return fmt.Errorf("%s: compressed cluster at %d of %d bytes: %w", f.name, at, f.bytes.Load(), ErrCorrupt)
	}

	buf, _ := c.inputs.Get().(*[]byte)
	if buf == nil {
		buf = new([]byte)
	}
	defer c.inputs.Put(buf)
	*buf = grow(*buf, size)
	if err := f.readPlain(*buf, at); err != nil {
		return err
	}
	var err error
	if f.compression == compressionZstd {
		err = c.decodeZstd(cluster, *buf)
	} else {
		err = c.inflate(cluster, *buf)
	}
	if err != nil {
		return fmt.Errorf("%s: compressed cluster at %d: %v: %w", f.name, at, err, ErrCorrupt)
	}
	return nil
}

// errShort says that decompressing gives less than a cluster.
var errShort = errors.New("it is too short")

// fill reads a whole cluster. What follows it is another cluster's.
func fill(cluster []byte, from io.Reader) error {
	_, err := io.ReadFull(from, cluster)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errShort
	}
	return err
}

type inflater struct {
	input   bytes.Reader
	decoder io.ReadCloser
}

// inflate decompresses a deflate stream without zlib's header.
func (c *Cache) inflate(cluster, packed []byte) error {
	d, _ := c.inflaters.Get().(*inflater)
	if d == nil {
		d = &inflater{}
		d.decoder = flate.NewReader(&d.input)
	}
	defer c.inflaters.Put(d)
	d.input.Reset(packed)
	if err := d.decoder.(flate.Resetter).Reset(&d.input, nil); err != nil {
		return err
	}
	return fill(cluster, d.decoder)
}

type unzstd struct {
	input   bytes.Reader
	decoder *zstd.Decoder
}

func (c *Cache) decodeZstd(cluster, packed []byte) error {
	d, _ := c.unzstds.Get().(*unzstd)
	if d == nil {
		decoder, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return err
		}
		d = &unzstd{decoder: decoder}
	}
	defer c.unzstds.Put(d)
	d.input.Reset(packed)
	if err := d.decoder.Reset(&d.input); err != nil {
		return err
	}
	return fill(cluster, d.decoder)
}
