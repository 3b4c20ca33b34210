package stream

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"

	"vmsync/nbdproxy/spec"
)

// seal makes a stream's beginning out of any document, with the right checksum.
func seal(version uint32, length uint32, doc string) ([]byte, uint64) {
	b := make([]byte, prefaceSize, prefaceSize+len(doc))
	copy(b, magic)
	binary.LittleEndian.PutUint32(b[8:], version)
	binary.LittleEndian.PutUint32(b[12:], length)
	key := headerKey(b, []byte(doc))
	binary.LittleEndian.PutUint64(b[16:], key)
	return append(b, doc...), key
}

func TestHostileHeaderIsRefused(t *testing.T) {
	disk := `{"name":"vda","size":512,"incremental":false}`
	with := func(disks string) string { return `{"domain":"d","checkpoint":"c","disks":[` + disks + `]}` }
	if b, _ := seal(Version, uint32(len(with(disk))), with(disk)); decodeError(b) != ErrTruncated {
		t.Fatal("the table's pattern itself is refused")
	}
	for name, doc := range map[string]string{
		"empty":               "",
		"not JSON":            "vda",
		"two values":          with(disk) + "{}",
		"unknown field":       `{"x":1,"domain":"d","checkpoint":"c","disks":[` + disk + `]}`,
		"no disks":            with(""),
		"no domain":           `{"checkpoint":"c","disks":[` + disk + `]}`,
		"no checkpoint":       `{"domain":"d","disks":[` + disk + `]}`,
		"disk twice":          with(disk + "," + disk),
		"no name":             with(`{"name":"","size":512}`),
		"long name":           with(`{"name":"` + strings.Repeat("x", MaxName+1) + `","size":512}`),
		"no size":             with(`{"name":"vda"}`),
		"negative size":       with(`{"name":"vda","size":-1}`),
		"size too large":      with(fmt.Sprintf(`{"name":"vda","size":%d}`, int64(MaxSize)+1)),
		"size beyond 64 bits": with(`{"name":"vda","size":99999999999999999999}`),
		"too many disks":      with(disk + manyDisks(MaxDisks)),
		"state is null":       `{"state":null,"domain":"d","checkpoint":"c","disks":[` + disk + `]}`,
		"state is no object":  `{"state":"{}","domain":"d","checkpoint":"c","disks":[` + disk + `]}`,
	} {
		b, _ := seal(Version, uint32(len(doc)), doc)
		if err := decodeError(b); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	b, _ := seal(Version+1, uint32(len(with(disk))), with(disk))
	if err := decodeError(b); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "version 3") {
		t.Errorf("another version: error %v", err)
	}
	// A length that nothing follows must be refused for itself, not for the end.
	b, _ = seal(Version, MaxHeader+1, "")
	if err := decodeError(b); !errors.Is(err, ErrInvalid) {
		t.Errorf("header of more than %d bytes: error %v", MaxHeader, err)
	}
	if err := decodeError(bytes.Repeat([]byte("x"), 100)); !errors.Is(err, ErrInvalid) {
		t.Errorf("no magic: error %v", err)
	}
}

func manyDisks(n int) string {
	var s strings.Builder
	for i := range n {
		fmt.Fprintf(&s, `,{"name":"v%d","size":1}`, i)
	}
	return s.String()
}

func decodeError(b []byte) error {
	_, _, err := decode(bytes.NewReader(b))
	return err
}

// hostile is a frame with right checksums and wrong claims.
type hostile struct {
	head   frameHeader
	table  []Extent
	stored []byte
	raw    []byte // what the content hash covers; stored when nil
}

func (f hostile) bytes(key uint64) []byte {
	table := appendExtents(nil, f.table)
	if f.raw == nil {
		f.raw = f.stored
	}
	f.head.content = f.head.contentHash(table, f.raw, key)
	b := make([]byte, frameHeaderSize)
	f.head.put(b, key)
	return append(append(b, table...), f.stored...)
}

func TestHostileFrameIsRefused(t *testing.T) {
	h := testHeader()
	head, key, err := h.marshal()
	if err != nil {
		t.Fatal(err)
	}
	zstdBomb := compressed(t, 64<<20)
	one := []Extent{{0, 1}}
	for name, f := range map[string]hostile{
		"type 0":               {head: frameHeader{kind: 0, extents: 1, raw: 1, stored: 1}},
		"type 6":               {head: frameHeader{kind: 6, extents: 1, raw: 1, stored: 1}},
		"unknown codec":        {head: frameHeader{kind: KindData, codec: 3, extents: 1, raw: 2, stored: 1}},
		"unknown disk":         {head: frameHeader{kind: KindData, disk: 2, extents: 1, raw: 1, stored: 1}, table: one, stored: []byte{1}},
		"huge payload":         {head: frameHeader{kind: KindData, extents: 1, raw: MaxPayload + 1, stored: MaxPayload + 1}},
		"huge stored":          {head: frameHeader{kind: KindData, codec: CodecZstd, extents: 1, raw: 1, stored: 1 << 31}},
		"huge table":           {head: frameHeader{kind: KindData, extents: 1 << 31, raw: 1, stored: 1}},
		"no extent":            {head: frameHeader{kind: KindData, raw: 1, stored: 1}},
		"no payload":           {head: frameHeader{kind: KindData, extents: 1}},
		"stored grows":         {head: frameHeader{kind: KindData, codec: CodecS2, extents: 1, raw: 2, stored: 2}},
		"zero frame with data": {head: frameHeader{kind: KindZero, extents: 1, raw: 1, stored: 1}},
		"zero frame, codec":    {head: frameHeader{kind: KindZero, codec: CodecZstd, extents: 1}},
		"end of wrong length":  {head: frameHeader{kind: kindEnd, raw: 31, stored: 31}},
		"end with extents":     {head: frameHeader{kind: KindDiskEnd, extents: 1, raw: 32, stored: 32}},
		"end with disk":        {head: frameHeader{kind: kindEnd, disk: 1, raw: 32, stored: 32}},
		"end of another lane":  {head: frameHeader{kind: kindLaneEnd, raw: 32, stored: 32}, stored: make([]byte, 32)},
		"early end":            {head: frameHeader{kind: kindEnd, raw: 32, stored: 32}, stored: make([]byte, 32)},
		"early disk end":       {head: frameHeader{kind: KindDiskEnd, raw: 32, stored: 32}, stored: make([]byte, 32)},
		"disk end lies":        {head: frameHeader{kind: KindDiskEnd, disk: 1, raw: 32, stored: 32}, stored: append([]byte{1}, make([]byte, 31)...)},
		"beyond the disk":      {head: frameHeader{kind: KindData, extents: 1, raw: 2, stored: 2}, table: []Extent{{3*65536 + 511, 2}}, stored: []byte{1, 2}},
		"offset wraps":         {head: frameHeader{kind: KindZero, extents: 1}, table: []Extent{{-1, 1}}},
		"length wraps":         {head: frameHeader{kind: KindZero, extents: 1}, table: []Extent{{1, -1}}},
		"sum wraps":            {head: frameHeader{kind: KindZero, extents: 1}, table: []Extent{{1 << 62, 1 << 62}}},
		"empty extent":         {head: frameHeader{kind: KindZero, extents: 1}, table: []Extent{{0, 0}}},
		"overlap in a frame":   {head: frameHeader{kind: KindZero, extents: 2}, table: []Extent{{0, 2}, {1, 2}}},
		"extents and payload":  {head: frameHeader{kind: KindData, extents: 1, raw: 1, stored: 1}, table: []Extent{{0, 2}}, stored: []byte{1}},
		"zstd bomb":            {head: frameHeader{kind: KindData, codec: CodecZstd, extents: 1, raw: MaxPayload, stored: uint32(len(zstdBomb))}, table: []Extent{{0, MaxPayload}}, stored: zstdBomb},
		"s2 bomb":              {head: frameHeader{kind: KindData, disk: 1, codec: CodecS2, extents: 1, raw: 100, stored: 6}, table: []Extent{{0, 100}}, stored: append(binary.AppendUvarint(nil, 1<<31), 0)},
		"s2 too short":         {head: frameHeader{kind: KindData, disk: 1, codec: CodecS2, extents: 1, raw: 100, stored: uint32(len(s2.Encode(nil, make([]byte, 99))))}, table: []Extent{{0, 100}}, stored: s2.Encode(nil, make([]byte, 99))},
	} {
		b := append(bytes.Clone(head), f.bytes(key)...)
		if err := decodeError(b); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// TestHugeClaimTakesNoMemory decodes frames that announce much and bring nothing.
func TestHugeClaimTakesNoMemory(t *testing.T) {
	h := testHeader()
	head, key, err := h.marshal()
	if err != nil {
		t.Fatal(err)
	}
	f := hostile{head: frameHeader{kind: KindData, extents: 1 << 31, raw: 1 << 31, stored: 1 << 31}}
	b := append(bytes.Clone(head), f.bytes(key)...)
	got := testing.Benchmark(func(tb *testing.B) {
		tb.ReportAllocs()
		for range tb.N {
			_ = decodeError(b)
		}
	})
	if n := got.AllocedBytesPerOp(); n > 4<<20 {
		t.Errorf("decoding took %d bytes", n)
	}
}

func TestExtentThatComesTwiceIsRefused(t *testing.T) {
	var b bytes.Buffer
	e, err := NewEncoder(testHeader(), spec.Compression{Mode: spec.ModeNone}, &b)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := e.Zero(1, []Extent{{1 << 20, 65536}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := decodeError(b.Bytes()); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "overlaps") {
		t.Errorf("error %v", err)
	}
}

func TestCoverage(t *testing.T) {
	const g = 1 << granuleShift
	const size = 9<<32 + 100
	for name, c := range map[string]struct {
		before  []Extent
		e       Extent
		refused bool
	}{
		"first":                      {nil, Extent{0, g}, false},
		"neighbour":                  {[]Extent{{0, g}}, Extent{g, g}, false},
		"same":                       {[]Extent{{0, g}}, Extent{0, g}, true},
		"larger":                     {[]Extent{{5 * g, g}}, Extent{0, 100 * g}, true},
		"smaller":                    {[]Extent{{0, 100 * g}}, Extent{5 * g, g}, true},
		"across chunks":              {[]Extent{{1<<32 - g, 2 * g}}, Extent{1 << 32, g}, true},
		"whole chunk again":          {[]Extent{{1 << 32, 1 << 32}}, Extent{1 << 32, 1 << 32}, true},
		"in a whole chunk":           {[]Extent{{0, 1 << 34}}, Extent{7 * g, g}, true},
		"chunk filled bitwise":       {[]Extent{{0, 1<<32 - g}, {1<<32 - g, g}}, Extent{g, g}, true},
		"whole disk again":           {[]Extent{{0, size}}, Extent{0, size}, true},
		"end of the disk":            {[]Extent{{9 << 32, 100}}, Extent{9 << 32, 100}, true},
		"parts of a granule":         {[]Extent{{0, 100}}, Extent{100, g - 100}, false},
		"parts that overlap":         {[]Extent{{0, 100}}, Extent{99, 100}, true},
		"part in a part":             {[]Extent{{10, 100}}, Extent{20, 10}, true},
		"part around a part":         {[]Extent{{20, 10}}, Extent{10, 100}, true},
		"part between parts":         {[]Extent{{0, 10}, {20, 10}}, Extent{10, 10}, false},
		"part over a gap":            {[]Extent{{0, 10}, {20, 10}}, Extent{10, 11}, true},
		"part of a whole":            {[]Extent{{0, g}}, Extent{10, 10}, true},
		"part of a whole chunk":      {[]Extent{{0, 1 << 33}}, Extent{10, 10}, true},
		"whole over a part":          {[]Extent{{g + 10, 10}}, Extent{0, 3 * g}, true},
		"huge over a part":           {[]Extent{{1<<33 + 10, 10}}, Extent{0, 1 << 34}, true},
		"part of parts that fill":    {[]Extent{{0, 100}, {200, g - 200}, {100, 100}}, Extent{150, 1}, true},
		"tail and head":              {[]Extent{{0, g + 10}}, Extent{g + 10, g}, false},
		"tail and head that overlap": {[]Extent{{0, g + 10}}, Extent{g + 9, g}, true},
		"odd end of the disk":        {[]Extent{{9 << 32, 60}}, Extent{9<<32 + 60, 40}, false},
		"odd end again":              {[]Extent{{9 << 32, 60}, {9<<32 + 60, 40}}, Extent{9<<32 + 99, 1}, true},
		"hole left open":             {[]Extent{{0, g}, {2 * g, g}}, Extent{g, g}, false},
	} {
		room := maxParts
		cov := coverage{room: &room}
		for _, e := range c.before {
			if err := cov.mark(e, size); err != nil {
				t.Fatalf("%s: before: %v", name, err)
			}
		}
		if err := cov.mark(c.e, size); (err != nil) != c.refused {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// TestCoverageTakesBoundedMemory marks every other byte, of which no granule is ever
// covered wholly.
func TestCoverageTakesBoundedMemory(t *testing.T) {
	room := 100
	cov := coverage{room: &room}
	for off := range int64(1000) {
		if err := cov.mark(Extent{off * 2, 1}, 1<<20); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(cov.parts[0]); n != 100 || room != 0 {
		t.Errorf("%d parts, room for %d", n, room)
	}
	for off := range int64(100) { // the gaps join what is kept into one part
		if err := cov.mark(Extent{off*2 + 1, 1}, 1<<20); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(cov.parts[0]); n != 1 || room != 99 {
		t.Errorf("%d parts, room for %d", n, room)
	}
	cov.forget()
	if room != 100 {
		t.Errorf("room for %d of 100", room)
	}
}

func compressed(t *testing.T, n int) []byte {
	t.Helper()
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return z.EncodeAll(make([]byte, n), nil)
}

// FuzzDecoder feeds anything to the decoder. What completes must do so again.
func FuzzDecoder(f *testing.F) {
	for _, m := range modes {
		b := testStream(f, m)
		f.Add(b)
		f.Add(b[:len(b)/2])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		said, _, err := decode(bytes.NewReader(b))
		if err != nil {
			return
		}
		if again, _, err := decode(bytes.NewReader(b)); err != nil || again != said {
			t.Fatal("decoded once, and differently the second time")
		}
	})
}

// FuzzSealedFrames makes frames out of the input and gives them right checksums,
// so that the fuzzer gets behind these.
func FuzzSealedFrames(f *testing.F) {
	h := testHeader()
	head, key, err := h.marshal()
	if err != nil {
		f.Fatal(err)
	}
	for _, m := range modes {
		f.Add(unseal(testStream(f, m)[len(head):]))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		_, sums, err := decode(bytes.NewReader(append(bytes.Clone(head), sealFrames(in, key)...)))
		if err == nil && sums[0].DataBytes+sums[0].ZeroBytes != h.Disks[0].Size {
			t.Fatal("a full disk completed without being covered")
		}
		if err != nil && err != io.EOF && !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrTruncated) {
			t.Fatal(err)
		}
	})
}

// FuzzSealedLanes does the same to a stream over two connections.
func FuzzSealedLanes(f *testing.F) {
	h := testHeader()
	head, key, err := h.marshal()
	if err != nil {
		f.Fatal(err)
	}
	lane := lanePreface(1, key)
	lanes := lanedStream(f, lanedHeader(), 2)
	mainHead, _, err := (&Header{Domain: "vm1", Checkpoint: "cp2", Parent: "cp1", Disks: lanedHeader().Disks}).marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(unseal(lanes[0][len(mainHead):]), unseal(lanes[1][prefaceSize:]))
	for _, m := range modes {
		f.Add(unseal(testStream(f, m)[len(head):]), []byte{})
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		d, err := NewDecoder(bytes.NewReader(append(bytes.Clone(head), sealFrames(a, key)...)),
			bytes.NewReader(append(bytes.Clone(lane), sealFrames(b, key)...)))
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		err = drain(d.Lanes()[1])
		if err == nil {
			err = drain(d.Lanes()[0])
		}
		if err != nil {
			refused(t, err)
			return
		}
		sums, err := d.Result()
		if err != nil || sums[0].DataBytes+sums[0].ZeroBytes != h.Disks[0].Size {
			t.Fatalf("a full disk completed without being covered: %+v, error %v", sums, err)
		}
	})
}

// sealFrames makes frames out of anything.
func sealFrames(in []byte, key uint64) (out []byte) {
	for len(in) >= 16 {
		fr := hostile{head: frameHeader{
			kind: Kind(in[0]), codec: Codec(in[1]), disk: binary.LittleEndian.Uint16(in[2:]),
			extents: binary.LittleEndian.Uint32(in[4:]), raw: binary.LittleEndian.Uint32(in[8:]),
			stored: binary.LittleEndian.Uint32(in[12:]),
		}}
		in = in[16:]
		table := in[:min(uint64(len(in)), uint64(fr.head.extents)*extentSize)]
		in = in[len(table):]
		fr.table = parseExtents(nil, table)
		fr.stored = in[:min(len(in), int(fr.head.stored))]
		in = in[len(fr.stored):]
		if fr.head.codec == CodecS2 && fr.head.raw <= MaxPayload {
			if n, err := s2.DecodedLen(fr.stored); err == nil && n <= MaxPayload {
				fr.raw, _ = s2.Decode(nil, fr.stored)
			}
		}
		out = append(out, fr.bytes(key)...)
	}
	return out
}

// unseal takes the checksums out of frames.
func unseal(frames []byte) []byte {
	var out []byte
	for len(frames) > 0 {
		n := binary.LittleEndian.Uint32(frames[4:])*extentSize + binary.LittleEndian.Uint32(frames[12:])
		out = append(append(out, frames[:16]...), frames[32:32+n]...)
		frames = frames[32+n:]
	}
	return out
}
