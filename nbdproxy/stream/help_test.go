package stream

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"

	"vmsync/nbdproxy/spec"
)

// testHeader names a full and an incremental disk, neither a multiple of 64 KiB.
func testHeader() Header {
	return Header{
		Domain: "vm1", Checkpoint: "cp2", Parent: "cp1",
		Disks: []Disk{
			{Name: "vda", Size: 3*65536 + 512},
			{Name: "vdb", Size: 1 << 40, Incremental: true},
		},
	}
}

// text returns n bytes that compress; noise returns n bytes that do not.
func text(n int) []byte { return bytes.Repeat([]byte("all work and no play "), n/21+1)[:n] }

func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

// testStream returns a small stream with every kind of frame and two disks
// interleaved.
func testStream(t testing.TB, m spec.Mode) []byte {
	t.Helper()
	var b bytes.Buffer
	e, err := NewEncoder(testHeader(), spec.Compression{Mode: m}, &b)
	if err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(e.Data(0, []Extent{{65536, 400}, {65536 + 400, 112}}, text(512)))
	must(e.Data(1, []Extent{{1 << 39, 100}, {1<<39 + 4096, 28}}, noise(128)))
	must(e.Zero(0, []Extent{{0, 65536}, {65536 + 512, 2*65536 - 512}}))
	must(e.Zero(1, []Extent{{0, 1 << 33}, {1 << 35, 4096}}))
	_, err = e.EndDisk(1)
	must(err)
	must(e.Data(0, []Extent{{3 * 65536, 512}}, text(512)))
	_, err = e.EndDisk(0)
	must(err)
	must(e.End())
	if e.Wire() != int64(b.Len()) {
		t.Fatalf("wrote %d bytes, counted %d", b.Len(), e.Wire())
	}
	return b.Bytes()
}

var payloads = sync.Pool{New: func() any { return new([MaxPayload]byte) }}

// decode reads a whole stream. The string tells everything it says, frame by frame.
func decode(r io.Reader) (string, []DiskSum, error) {
	d, err := NewDecoder(r)
	if err != nil {
		return "", nil, err
	}
	defer d.Close()
	var said bytes.Buffer
	fmt.Fprintln(&said, *d.Header())
	var f Frame
	array := payloads.Get().(*[MaxPayload]byte)
	defer payloads.Put(array)
	buf := array[:]
	for {
		err := d.Lanes()[0].Next(&f)
		if err == io.EOF {
			sums, err := d.Result()
			return said.String(), sums, err
		}
		if err != nil {
			return "", nil, err
		}
		var payload []byte
		if f.Kind != KindDiskEnd {
			if payload, err = f.Open(buf); err != nil {
				return "", nil, err
			}
		}
		fmt.Fprintln(&said, f.Kind, f.Disk, f.Extents, payload, f.Sum)
	}
}

// refused fails unless err is of this package's kinds.
func refused(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrTruncated) {
		t.Fatalf("got error %v; want ErrInvalid or ErrTruncated", err)
	}
}
