package stream

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"vmsync/nbdproxy/spec"
)

var modes = []spec.Mode{spec.ModeAuto, spec.ModeNone, spec.ModeS2, spec.ModeZstd}

func TestStreamCarriesWhatWasWritten(t *testing.T) {
	for _, m := range modes {
		t.Run(string(m), func(t *testing.T) {
			b := testStream(t, m)
			got, sums, err := decode(iotest.OneByteReader(bytes.NewReader(b)))
			if err != nil {
				t.Fatal(err)
			}
			want, _, err := decode(bytes.NewReader(testStream(t, spec.ModeNone)))
			if err != nil || got != want {
				t.Fatalf("mode %s says\n%s\nmode none\n%s (error %v)", m, got, want, err)
			}
			if s := sums[0]; s.Frames != 3 || s.DataBytes != 1024 || s.ZeroBytes != 3*65536-512 || s.Digest == 0 {
				t.Errorf("vda: %+v", s)
			}
			if s := sums[1]; s.Frames != 2 || s.DataBytes != 128 || s.ZeroBytes != 1<<33+4096 || s.Digest == 0 {
				t.Errorf("vdb: %+v", s)
			}
		})
	}
}

func TestTruncatedStreamIsNeverComplete(t *testing.T) {
	b := testStream(t, spec.ModeAuto)
	for n := range len(b) {
		if _, _, err := decode(bytes.NewReader(b[:n])); !errors.Is(err, ErrTruncated) {
			t.Fatalf("cut after %d of %d bytes: error %v", n, len(b), err)
		}
	}
}

func TestTrailingBytesAreRefused(t *testing.T) {
	b := testStream(t, spec.ModeAuto)
	for _, tail := range [][]byte{{0}, b} {
		_, _, err := decode(bytes.NewReader(append(bytes.Clone(b), tail...)))
		if !errors.Is(err, ErrInvalid) {
			t.Fatalf("%d bytes after the end mark: error %v", len(tail), err)
		}
	}
}

func TestFlippedBitNeverChangesTheResult(t *testing.T) {
	for _, m := range modes {
		b := testStream(t, m)
		want, _, err := decode(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		accepted := 0
		for bit := range len(b) * 8 {
			c := bytes.Clone(b)
			c[bit/8] ^= 1 << (bit % 8)
			got, _, err := decode(bytes.NewReader(c))
			if err == nil {
				// A compressed payload may have bits that mean nothing.
				if accepted++; got != want {
					t.Fatalf("mode %s: bit %d flipped: completed with another result", m, bit)
				}
				continue
			}
			refused(t, err)
		}
		if m == spec.ModeNone && accepted > 0 {
			t.Errorf("%d flipped bits were not noticed", accepted)
		}
	}
}

// TestFramesDroppedDoubledOrMovedAreFoundOut works on whole, intact frames.
func TestFramesDroppedDoubledOrMovedAreFoundOut(t *testing.T) {
	b := testStream(t, spec.ModeNone)
	head, frames := split(t, b)
	join := func(parts ...[]byte) []byte { return bytes.Join(append([][]byte{head}, parts...), nil) }
	if _, _, err := decode(bytes.NewReader(join(frames...))); err != nil {
		t.Fatalf("split changed the stream: %v", err)
	}
	for i := range frames {
		without := append(append([][]byte{}, frames[:i]...), frames[i+1:]...)
		_, _, err := decode(bytes.NewReader(join(without...)))
		refused(t, err)
		twice := append(append([][]byte{}, frames[:i+1]...), frames[i:]...)
		_, _, err = decode(bytes.NewReader(join(twice...)))
		refused(t, err)
	}
	moved := append([][]byte{frames[3], frames[1], frames[2], frames[0]}, frames[4:]...)
	_, sums, err := decode(bytes.NewReader(join(moved...)))
	if err != nil {
		t.Fatalf("the order of frames before a disk's end must not matter: %v", err)
	}
	if _, want, _ := decode(bytes.NewReader(b)); sums[0] != want[0] || sums[1] != want[1] {
		t.Error("the order of frames changed a sum")
	}
}

func TestFrameOfAnotherStreamIsRefused(t *testing.T) {
	b := testStream(t, spec.ModeNone)
	h := testHeader()
	h.Checkpoint = "cp3"
	var other bytes.Buffer
	e, err := NewEncoder(h, spec.Compression{Mode: spec.ModeNone}, &other)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Data(0, []Extent{{65536, 400}, {65536 + 400, 112}}, text(512)); err != nil {
		t.Fatal(err)
	}
	head, frames := split(t, b)
	_, foreign := split(t, other.Bytes())
	frames[0] = foreign[0]
	_, _, err = decode(bytes.NewReader(bytes.Join(append([][]byte{head}, frames...), nil)))
	if !errors.Is(err, ErrInvalid) {
		t.Fatalf("error %v", err)
	}
}

// split cuts a stream into its header and its frames.
func split(t *testing.T, b []byte) (head []byte, frames [][]byte) {
	t.Helper()
	r := bytes.NewReader(b[prefaceSize:])
	_, key, err := readHeader(b[:prefaceSize], r)
	if err != nil {
		t.Fatal(err)
	}
	rest := b[len(b)-r.Len():]
	head = b[:len(b)-r.Len()]
	for len(rest) > 0 {
		var h frameHeader
		if err := h.parse(rest[:frameHeaderSize], key); err != nil {
			t.Fatal(err)
		}
		n := frameHeaderSize + int(h.extents)*extentSize + int(h.stored)
		frames, rest = append(frames, rest[:n:n]), rest[n:]
	}
	return head, frames
}

func TestResultNeedsEveryFrameVerified(t *testing.T) {
	d, err := NewDecoder(bytes.NewReader(testStream(t, spec.ModeAuto)))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var f Frame
	for err == nil {
		if _, err := d.Result(); err == nil {
			t.Fatal("a result before the end")
		}
		err = d.Lanes()[0].Next(&f)
	}
	if err != io.EOF {
		t.Fatal(err)
	}
	if _, err := d.Result(); err == nil || !strings.Contains(err.Error(), "0 of 5 frames") {
		t.Fatalf("result without having opened a frame: error %v", err)
	}
}

func TestReadersErrorIsKept(t *testing.T) {
	b := testStream(t, spec.ModeAuto)
	broken := errors.New("broken")
	for _, n := range []int{0, 10, 100, len(b) / 2, len(b)} {
		r := io.MultiReader(bytes.NewReader(b[:n]), iotest.ErrReader(broken))
		if _, _, err := decode(r); !errors.Is(err, broken) {
			t.Errorf("after %d bytes: error %v", n, err)
		}
	}
}

func TestEncoderRefusesWhatADecoderWould(t *testing.T) {
	data := func(disk int, n int, x ...Extent) func(*Encoder) error {
		return func(e *Encoder) error { return e.Data(disk, x, make([]byte, n)) }
	}
	for name, f := range map[string]func(*Encoder) error{
		"unknown disk":         data(2, 1, Extent{0, 1}),
		"negative disk":        data(-1, 1, Extent{0, 1}),
		"no extent":            data(0, 0),
		"empty extent":         data(0, 0, Extent{0, 0}),
		"beyond the disk":      data(0, 2, Extent{3*65536 + 511, 2}),
		"negative offset":      data(0, 1, Extent{-1, 1}),
		"descending":           data(0, 2, Extent{5, 1}, Extent{4, 1}),
		"overlapping":          data(0, 4, Extent{4, 2}, Extent{5, 2}),
		"too few bytes":        data(0, 1, Extent{0, 2}),
		"too many bytes":       data(0, 3, Extent{0, 2}),
		"payload too long":     data(1, MaxPayload+1, Extent{0, MaxPayload + 1}),
		"too many extents":     func(e *Encoder) error { return e.Zero(1, make([]Extent, MaxExtents+1)) },
		"end of an unfull":     func(e *Encoder) error { _, err := e.EndDisk(0); return err },
		"end before the disks": (*Encoder).End,
		"frame after the end": func(e *Encoder) error {
			if _, err := e.EndDisk(1); err != nil {
				return nil
			}
			return e.Zero(1, []Extent{{0, 1}})
		},
	} {
		e, err := NewEncoder(testHeader(), spec.Compression{Mode: spec.ModeAuto}, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		if f(e) == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestEncoderTakesFramesFromManyGoroutines(t *testing.T) {
	const frames, size = 64, 100_000
	var b bytes.Buffer
	e, err := NewEncoder(Header{Domain: "d", Checkpoint: "c", Disks: []Disk{{Name: "vda", Size: frames * size}}}, spec.Compression{Mode: spec.ModeAuto}, &b)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range frames {
		wg.Go(func() {
			p := text(size)
			if i%2 == 0 {
				p = noise(size)
			}
			if err := e.Data(0, []Extent{{int64(i) * size, size}}, p); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	sum, err := e.EndDisk(0)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.End(); err != nil {
		t.Fatal(err)
	}
	_, sums, err := decode(&b)
	if err != nil || sums[0] != sum {
		t.Fatalf("sent %+v, received %+v, error %v", sum, sums, err)
	}
}

func TestAutoStoresNoiseAsItIs(t *testing.T) {
	c, err := newCompressor(spec.Compression{Mode: spec.ModeAuto}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if looksCompressible(noise(MaxPayload)) {
		t.Error("noise looks compressible")
	}
	for _, n := range []int{100, 20_000, MaxPayload} {
		if p, err := c.compress(nil, noise(n)); err != nil || p.codec != CodecNone || len(p.bytes) != n {
			t.Errorf("%d bytes of noise became %d with codec %d, error %v", n, len(p.bytes), p.codec, err)
		}
		if p, err := c.compress(nil, text(n)); err != nil || p.codec != CodecZstd || len(p.bytes) > n/2 {
			t.Errorf("%d bytes of text became %d with codec %d, error %v", n, len(p.bytes), p.codec, err)
		}
	}
}
