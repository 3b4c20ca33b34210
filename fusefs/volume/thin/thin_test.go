package thin

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"testing"

	"vmsync/fusefs/device"
	"vmsync/fusefs/filesystem"
	"vmsync/fusefs/volume/mapping"
)

var le = binary.LittleEndian

// metadata is a pool's: blocks that sealAll gives their checksums.
type metadata []byte

func (m metadata) block(n int) []byte { return m[n*blockSize:][:blockSize] }

func (m metadata) node(n int, flags uint32, entries ...[2]uint64) {
	const room = 252
	b := m.block(n)
	le.PutUint32(b[4:], flags)
	le.PutUint64(b[8:], uint64(n))
	le.PutUint32(b[16:], uint32(len(entries)))
	le.PutUint32(b[20:], room)
	le.PutUint32(b[24:], 8)
	for i, e := range entries {
		le.PutUint64(b[nodeHeader+8*i:], e[0])
		le.PutUint64(b[nodeHeader+8*room+8*i:], e[1])
	}
}

func (m metadata) sealAll() {
	for n := 0; n < len(m)/blockSize; n++ {
		salt := uint32(nodeCRCSalt)
		if n == 0 {
			salt = superCRCSalt
		}
		b := m.block(n)
		le.PutUint32(b, ^crc32.Checksum(b[4:], crc32.MakeTable(crc32.Castagnoli))^salt)
	}
}

// pool has volume 5, whose chunks 0, 1, 2, 7 and 9 are in chunks 3, 4, 0, 1 and 5 of 64 KiB.
func pool() metadata {
	m := make(metadata, 8*blockSize)
	super := m.block(0)
	le.PutUint64(super[32:], superMagic)
	le.PutUint32(super[40:], 2)
	le.PutUint64(super[mappingTreeRoot:], 1)
	le.PutUint32(super[336:], 128)
	m.node(1, leafNode, [2]uint64{5, 2})
	m.node(2, internalNode, [2]uint64{0, 3}, [2]uint64{7, 4})
	m.node(3, leafNode, [2]uint64{0, 3<<timeBits | 1}, [2]uint64{1, 4<<timeBits | 2}, [2]uint64{2, 0 << timeBits})
	m.node(4, leafNode, [2]uint64{7, 1<<timeBits | 1}, [2]uint64{9, 5<<timeBits | 1})
	m.sealAll()
	return m
}

const chunk = 64 << 10

// data has each byte tell its chunk.
func data() device.Device {
	var all []byte
	for i := range 6 {
		all = append(all, bytes.Repeat([]byte{byte('A' + i)}, chunk)...)
	}
	return device.OfReaderAt(bytes.NewReader(all), int64(len(all)))
}

func open(t testing.TB, m metadata) *Pool {
	t.Helper()
	p, err := Open(device.OfReaderAt(bytes.NewReader(m), int64(len(m))), data())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestVolumeWithHoles(t *testing.T) {
	external := device.OfReaderAt(bytes.NewReader(bytes.Repeat([]byte("e"), 5*chunk)), 5*chunk)
	for name, tt := range map[string]struct {
		external device.Device
		want     string // a letter for each chunk
	}{
		"alone":    {nil, "DEA....B.F.."},
		"external": {external, "DEAee..B.F.."},
		"empty":    {mapping.Zero(0), "DEA....B.F.."},
	} {
		const size = 12*chunk - 100
		v, err := open(t, pool()).Volume(5, size, tt.external)
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, size)
		if n, err := v.ReadAt(got, 0); n < size {
			t.Fatalf("%s: %d, %v", name, n, err)
		}
		for i, b := range got {
			want := tt.want[i/chunk]
			if want == '.' {
				want = 0
			}
			if b != want {
				t.Fatalf("%s: byte %d is %q, want %q", name, i, b, want)
			}
		}
		for off := int64(0); off < size; {
			start, end, err := v.Data(off)
			if err != nil || start < off || end < start || (start == end && end != size) {
				t.Fatalf("%s: data at or after %d: %d to %d, %v", name, off, start, end, err)
			}
			if bytes.ContainsFunc(got[off:start], func(r rune) bool { return r != 0 }) {
				t.Fatalf("%s: data between %d and %d", name, off, start)
			}
			off = end
		}
	}
}

func TestDamagedPools(t *testing.T) {
	for name, change := range map[string]func(m metadata){
		"checksum of a leaf": func(m metadata) { m.block(4)[100]++ },
		"node elsewhere":     func(m metadata) { le.PutUint64(m.block(4)[8:], 3); m.sealAll() },
		"circle": func(m metadata) {
			m.node(3, internalNode, [2]uint64{0, 2}, [2]uint64{8, 2})
			m.node(4, internalNode, [2]uint64{0, 2})
			m.sealAll()
		},
		"child outside": func(m metadata) { m.node(2, internalNode, [2]uint64{0, 800}); m.sealAll() },
		"data outside": func(m metadata) {
			m.node(2, leafNode, [2]uint64{0, 6 << timeBits}, [2]uint64{7, 6 << timeBits})
			m.sealAll()
		},
		"empty inner node":     func(m metadata) { m.node(2, internalNode); m.sealAll() },
		"keys out of order":    func(m metadata) { m.node(4, leafNode, [2]uint64{7, 0}, [2]uint64{7, 0}); m.sealAll() },
		"empty leaf, to right": func(m metadata) { m.node(4, leafNode); m.sealAll() },
	} {
		m := pool()
		change(m)
		v, err := open(t, m).Volume(5, 12*chunk, nil)
		if err == nil {
			_, err = v.ReadAt(make([]byte, 12*chunk), 0)
		}
		if !errors.Is(err, filesystem.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := open(t, pool()).Volume(4, chunk, nil); !errors.Is(err, filesystem.ErrCorrupt) {
		t.Errorf("no such volume: %v", err)
	}
}

func FuzzPool(f *testing.F) {
	f.Add([]byte{0x20, 0x10, 3})
	f.Fuzz(func(t *testing.T, edits []byte) {
		m := pool()
		for ; len(edits) >= 3; edits = edits[3:] {
			m[int(le.Uint16(edits))%len(m)] = edits[2]
		}
		m.sealAll()
		p, err := Open(device.OfReaderAt(bytes.NewReader(m), int64(len(m))), data())
		if err != nil {
			return
		}
		const size = 12*chunk - 100
		v, err := p.Volume(5, size, nil)
		if err != nil {
			return
		}
		buf := make([]byte, 5000)
		for off := int64(0); off < size; off += chunk - 1000 {
			if n, err := v.ReadAt(buf, off); n < len(buf) && err == nil {
				t.Fatal("a short read without an error")
			}
		}
		for off, n := int64(0), 0; off < size; n++ {
			start, end, err := v.Data(off)
			if err != nil {
				return
			}
			if start < off || end < start || end > size || (start == end && end != size) || n > 1000 {
				t.Fatalf("data at or after %d: %d to %d", off, start, end)
			}
			off = end
		}
	})
}
