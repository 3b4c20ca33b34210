package stream

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"

	"vmsync/nbdproxy/spec"
)

// lanedStream is a stream of some frames over n connections.
func lanedStream(t testing.TB, h Header, n int) [][]byte {
	t.Helper()
	bufs := make([]*bytes.Buffer, n)
	ws := make([]io.Writer, n)
	for i := range bufs {
		bufs[i] = new(bytes.Buffer)
		ws[i] = bufs[i]
	}
	e, err := NewEncoder(h, spec.Compression{Mode: spec.ModeS2}, ws...)
	if err != nil {
		t.Fatal(err)
	}
	for i := range int64(4 * n) {
		if err := e.Data(0, []Extent{{i << 20, 65536}}, text(65536)); err != nil {
			t.Fatal(err)
		}
		if err := e.Zero(0, []Extent{{i<<20 + 65536, 65536}}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := e.EndDisk(0); err != nil {
		t.Fatal(err)
	}
	if err := e.End(); err != nil {
		t.Fatal(err)
	}
	out := make([][]byte, n)
	for i, b := range bufs {
		out[i] = b.Bytes()
	}
	return out
}

func lanedHeader() Header {
	return Header{Domain: "vm1", Checkpoint: "cp2", Parent: "cp1", Disks: []Disk{{Name: "vda", Size: 1 << 30, Incremental: true}}}
}

// decodeLanes reads all connections at once, and opens every frame.
func decodeLanes(lanes [][]byte) ([]DiskSum, error) {
	rs := make([]io.Reader, len(lanes))
	for i, b := range lanes {
		rs[i] = bytes.NewReader(b)
	}
	d, err := NewDecoder(rs...)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	errs := make([]error, len(lanes))
	var wg sync.WaitGroup
	for i, l := range d.Lanes() {
		wg.Go(func() { errs[i] = drain(l) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return d.Result()
}

func drain(l *Lane) error {
	var f Frame
	array := payloads.Get().(*[MaxPayload]byte)
	defer payloads.Put(array)
	for {
		err := l.Next(&f)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if f.Kind != KindDiskEnd {
			if _, err := f.Open(array[:]); err != nil {
				return err
			}
		}
	}
}

func TestStreamGoesOverSeveralConnections(t *testing.T) {
	one, err := decodeLanes(lanedStream(t, lanedHeader(), 1))
	if err != nil {
		t.Fatal(err)
	}
	if want := (DiskSum{Frames: 8, DataBytes: 4 << 16, ZeroBytes: 4 << 16, Digest: one[0].Digest}); one[0] != want {
		t.Errorf("got %+v", one[0])
	}
	for _, n := range []int{2, 5, MaxLanes} {
		lanes := lanedStream(t, lanedHeader(), n)
		for i, b := range lanes {
			if len(b) <= prefaceSize+2*frameHeaderSize+trailerSize {
				t.Errorf("connection %d of %d carried no frame", i, n)
			}
		}
		lanes[0], lanes[n-1] = lanes[n-1], lanes[0] // whichever comes first
		sums, err := decodeLanes(lanes)
		if err != nil || sums[0].Frames != int64(8*n) {
			t.Errorf("%d connections: %+v, error %v", n, sums, err)
		}
	}
}

func TestHostileConnectionIsRefused(t *testing.T) {
	good := func() [][]byte { return lanedStream(t, lanedHeader(), 3) }
	if _, err := decodeLanes(good()); err != nil {
		t.Fatal(err)
	}
	other := lanedHeader()
	other.Checkpoint = "cp3"
	foreign := lanedStream(t, other, 3)
	for name, c := range map[string]struct {
		lanes [][]byte
		says  string
	}{
		"missing":                {good()[:2], "do not add up"},
		"of another stream":      {[][]byte{good()[0], good()[1], foreign[2]}, "another stream"},
		"twice":                  {[][]byte{good()[0], good()[1], good()[1]}, "with the number"},
		"two headers":            {[][]byte{good()[0], good()[1], good()[0]}, "two of its connections"},
		"no header":              {good()[1:], "none of its connections"},
		"alone":                  {good()[1:2], "magic"},
		"cut in the preface":     {[][]byte{good()[0], good()[1], good()[2][:20]}, ErrTruncated.Error()},
		"without its end":        {[][]byte{good()[0], good()[1], good()[2][:len(good()[2])-64]}, ErrTruncated.Error()},
		"bytes after its end":    {[][]byte{good()[0], good()[1], append(good()[2], 0)}, "follow the end"},
		"main without its end":   {[][]byte{good()[0][:len(good()[0])-64], good()[1], good()[2]}, ErrTruncated.Error()},
		"a number out of bounds": {[][]byte{good()[0], good()[1], append(lanePreface(MaxLanes, keyOf(t, lanedHeader())), good()[2][prefaceSize:]...)}, "number 16"},
		"the number 0":           {[][]byte{good()[0], good()[1], append(lanePreface(0, keyOf(t, lanedHeader())), good()[2][prefaceSize:]...)}, "number 0"},
	} {
		_, err := decodeLanes(c.lanes)
		if err == nil || !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrTruncated) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func keyOf(t *testing.T, h Header) uint64 {
	t.Helper()
	_, key, err := h.marshal()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// TestMisplacedFrameIsRefused puts well-formed frames where they may not be.
func TestMisplacedFrameIsRefused(t *testing.T) {
	h := lanedHeader()
	key := keyOf(t, h)
	lanes := lanedStream(t, h, 2)
	for name, f := range map[string]hostile{
		"end mark":       {head: frameHeader{kind: kindEnd, raw: 32, stored: 32}, stored: make([]byte, 32)},
		"end of a disk":  {head: frameHeader{kind: KindDiskEnd, raw: 32, stored: 32}, stored: make([]byte, 32)},
		"end that lies":  {head: frameHeader{kind: kindLaneEnd, raw: 32, stored: 32}, stored: append([]byte{1}, make([]byte, 31)...)},
		"overlap":        {head: frameHeader{kind: KindZero, extents: 1}, table: []Extent{{65536, 65536}}},
		"beyond":         {head: frameHeader{kind: KindZero, extents: 1}, table: []Extent{{1 << 30, 1}}},
		"disk not named": {head: frameHeader{kind: KindZero, disk: 1, extents: 1}, table: []Extent{{0, 1}}},
	} {
		b := append(bytes.Clone(lanes[1][:prefaceSize]), f.bytes(key)...)
		b = append(b, lanes[1][prefaceSize:]...)
		if _, err := decodeLanes([][]byte{lanes[0], b}); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// brokenWriter fails after some bytes.
type brokenWriter struct{ left int }

func (w *brokenWriter) Write(p []byte) (int, error) {
	if w.left -= len(p); w.left < 0 {
		return 0, io.ErrClosedPipe
	}
	return len(p), nil
}

func TestBrokenConnectionEndsTheEncoder(t *testing.T) {
	e, err := NewEncoder(lanedHeader(), spec.Compression{Mode: spec.ModeNone}, io.Discard, &brokenWriter{100_000})
	if err != nil {
		t.Fatal(err)
	}
	for i := range int64(4) {
		err = e.Data(0, []Extent{{i << 20, 65536}}, text(65536))
	}
	if !errors.Is(err, io.ErrClosedPipe) {
		t.Fatalf("error %v", err)
	}
	if _, err := e.EndDisk(0); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("EndDisk: %v", err)
	}
	if err := e.End(); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("End: %v", err)
	}
}
