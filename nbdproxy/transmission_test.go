package nbdproxy

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

// pattern is n bytes that repeat nowhere and have no zeros in front.
func pattern(n int) []byte {
	b := make([]byte, n)
	rng := rand.NewChaCha8([32]byte{1})
	rng.Read(b)
	b[0] |= 1
	return b
}

func TestRequestIsAnsweredAsTheProtocolSays(t *testing.T) {
	const size = 1 << 20 // of both disks; the second has blocks of 512 bytes, up to 64 KiB at once
	sizes := BlockSizes{Minimum: 512, Preferred: 4096, Maximum: 64 << 10}
	small := BlockSizes{Minimum: 1, Preferred: 4096, Maximum: 4096}
	exports := map[string]Export{
		"writable":  {Name: "x", Backend: newMemory(size)},
		"read-only": {Name: "x", Backend: newMemory(size), ReadOnly: true},
		"blocks":    {Name: "x", Backend: newMemory(size), BlockSizes: sizes},
		"small":     {Name: "x", Backend: newMemory(size), BlockSizes: small},
		"plain":     {Name: "x", Backend: plain{newMemory(size)}},
	}
	servers := map[string]*served{}
	for name, x := range exports {
		servers[name] = serve(t, Config{Exports: []Export{x}})
	}
	for _, test := range []struct {
		name       string
		export     string
		flags, cmd uint16
		offset     uint64
		length     uint32
		code       uint32
	}{
		{"read", "writable", 0, cmdRead, 0, 512, 0},
		{"read of the last byte", "writable", 0, cmdRead, size - 1, 1, 0},
		{"read of nothing", "writable", 0, cmdRead, 77, 0, 0},
		{"read of nothing at the end", "writable", 0, cmdRead, size, 0, 0},
		{"read beyond the end", "writable", 0, cmdRead, size - 1, 2, nbdEINVAL},
		{"read of nothing beyond the end", "writable", 0, cmdRead, size + 1, 0, nbdEINVAL},
		{"read at the highest offset", "writable", 0, cmdRead, 1<<64 - 1, 1, nbdEINVAL},
		{"read whose end overflows", "writable", 0, cmdRead, 1<<64 - 4096, 8192, nbdEINVAL},
		{"read of four gigabytes", "writable", 0, cmdRead, 0, 1<<32 - 1, nbdEINVAL},
		{"read with FUA", "writable", cmdFlagFUA, cmdRead, 0, 512, 0},
		{"read with FUA that was not announced", "read-only", cmdFlagFUA, cmdRead, 0, 512, nbdEINVAL},
		{"read with a flag of block status", "writable", cmdFlagReqOne, cmdRead, 0, 512, nbdEINVAL},
		{"read with an unknown flag", "writable", 1 << 15, cmdRead, 0, 512, nbdEINVAL},
		{"read of blocks", "blocks", 0, cmdRead, 512, 1024, 0},
		{"read at an unaligned offset", "blocks", 0, cmdRead, 1, 512, nbdEINVAL},
		{"read of an unaligned length", "blocks", 0, cmdRead, 512, 100, nbdEINVAL},
		{"read of the maximum", "blocks", 0, cmdRead, 0, 64 << 10, 0},
		{"read of more than the maximum", "blocks", 0, cmdRead, 0, 64<<10 + 512, nbdEINVAL},

		{"write", "writable", 0, cmdWrite, 0, 512, 0},
		{"write with FUA", "writable", cmdFlagFUA, cmdWrite, 4096, 4096, 0},
		{"write of nothing", "writable", 0, cmdWrite, 0, 0, 0},
		{"write of the last byte", "writable", 0, cmdWrite, size - 1, 1, 0},
		{"write beyond the end", "writable", 0, cmdWrite, size - 1, 2, nbdENOSPC},
		{"write far beyond the end", "writable", 0, cmdWrite, 1 << 63, 512, nbdENOSPC},
		{"write whose end overflows", "writable", 0, cmdWrite, 1<<64 - 512, 1024, nbdENOSPC},
		{"write with a flag of reads", "writable", cmdFlagDF, cmdWrite, 0, 512, nbdEINVAL},
		{"write with a flag of zeroes", "writable", cmdFlagNoHole, cmdWrite, 0, 512, nbdEINVAL},
		{"write at an unaligned offset", "blocks", 0, cmdWrite, 7, 512, nbdEINVAL},
		{"write of more than the maximum", "small", 0, cmdWrite, 0, 4097, nbdEINVAL},
		{"write to a read-only export", "read-only", 0, cmdWrite, 0, 512, nbdEPERM},
		{"write of nothing to a read-only export", "read-only", 0, cmdWrite, 0, 0, nbdEPERM},
		{"write beyond the end of a read-only export", "read-only", 0, cmdWrite, size, 512, nbdEPERM},

		{"flush", "writable", 0, cmdFlush, 0, 0, 0},
		{"flush with FUA", "writable", cmdFlagFUA, cmdFlush, 0, 0, 0},
		{"flush of a read-only export", "read-only", 0, cmdFlush, 0, 0, 0},
		{"flush with an offset", "writable", 0, cmdFlush, 512, 0, nbdEINVAL},
		{"flush with a length", "writable", 0, cmdFlush, 0, 512, nbdEINVAL},
		{"flush with an unknown flag", "writable", 1 << 8, cmdFlush, 0, 0, nbdEINVAL},

		{"trim", "writable", 0, cmdTrim, 0, 65536, 0},
		{"trim with FUA", "writable", cmdFlagFUA, cmdTrim, 0, 65536, 0},
		{"trim of more than the maximum", "small", 0, cmdTrim, 0, 65536, 0},
		{"trim beyond the end", "writable", 0, cmdTrim, size, 512, nbdEINVAL},
		{"trim of unaligned length", "blocks", 0, cmdTrim, 0, 513, nbdEINVAL},
		{"trim of a read-only export", "read-only", 0, cmdTrim, 0, 512, nbdEPERM},
		{"trim that the backend cannot do", "plain", 0, cmdTrim, 0, 512, nbdEINVAL},

		{"zeroes", "writable", 0, cmdWriteZeroes, 0, 65536, 0},
		{"zeroes with all flags", "writable", cmdFlagFUA | cmdFlagNoHole | cmdFlagFastZero, cmdWriteZeroes, 0, 65536, 0},
		{"zeroes of more than the maximum", "small", 0, cmdWriteZeroes, 0, size, 0},
		{"zeroes of nothing", "writable", 0, cmdWriteZeroes, 0, 0, 0},
		{"zeroes beyond the end", "writable", 0, cmdWriteZeroes, size - 512, 1024, nbdENOSPC},
		{"zeroes of a read-only export", "read-only", 0, cmdWriteZeroes, 0, 512, nbdEPERM},
		{"zeroes that the backend cannot do", "plain", 0, cmdWriteZeroes, 0, 512, nbdEINVAL},
		{"zeroes with DF", "writable", cmdFlagDF, cmdWriteZeroes, 0, 512, nbdEINVAL},

		{"cache", "writable", 0, cmdCache, 0, 65536, 0},
		{"cache of a read-only export", "read-only", 0, cmdCache, 0, 65536, 0},
		{"cache of more than the maximum", "small", 0, cmdCache, 0, 8192, nbdEINVAL},
		{"cache beyond the end", "writable", 0, cmdCache, size, 1, nbdEINVAL},
		{"cache that the backend cannot do", "plain", 0, cmdCache, 0, 512, nbdEINVAL},

		{"block status without contexts", "writable", 0, cmdBlockStatus, 0, 512, nbdEINVAL},
		{"unknown command", "writable", 0, 8, 0, 512, nbdEINVAL},
		{"the highest command", "read-only", 0, 0xffff, 0, 512, nbdEINVAL},
	} {
		t.Run(test.name, func(t *testing.T) {
			payload := []byte{}
			if test.cmd == cmdWrite {
				payload = pattern(int(test.length) + 1)[:test.length]
			}
			for _, structured := range []bool{false, true} {
				c := servers[test.export].transmit(t, structured)
				c.request(test.flags, test.cmd, 0xfeed, test.offset, test.length, payload)
				switch {
				case structured && test.code != 0:
					if c.expectError(0xfeed, test.code, nil) == "" {
						t.Error("an error without a message")
					}
				case structured && test.cmd == cmdRead:
					if k := c.chunk(); k.flags != replyFlagDone || k.handle != 0xfeed {
						t.Errorf("the reply is %v", k)
					}
				default:
					c.expectSimple(0xfeed, test.code)
					if test.cmd == cmdRead && test.code == 0 {
						c.receive(int(test.length))
					}
				}
				// Whatever the answer was, the connection goes on and is in step.
				c.request(0, cmdFlush, 0xbee, 0, 0)
				c.expectSimple(0xbee, 0)
				c.disconnect()
			}
		})
	}
}

// plain is a disk that can do nothing that a backend need not.
type plain struct{ m *memory }

func (p plain) ReadAt(b []byte, offset int64) (int, error)  { return p.m.ReadAt(b, offset) }
func (p plain) WriteAt(b []byte, offset int64) (int, error) { return p.m.WriteAt(b, offset) }
func (p plain) Size() (int64, error)                        { return p.m.Size() }
func (p plain) Sync() error                                 { return p.m.Sync() }

func TestReadRepliesAreWhatWasAskedFor(t *testing.T) {
	m := newMemory(8 << 20)
	content := pattern(4 << 20)
	m.WriteAt(content, 0) // the other half is zeros
	v := serveDisk(t, m)

	t.Run("simple", func(t *testing.T) {
		c := v.transmit(t, false)
		c.request(0, cmdRead, 1, 100, 1000)
		c.expectSimple(1, 0)
		c.expect(content[100:1100])
		c.request(0, cmdRead, 2, 1000, 3<<20) // longer than a segment, and in one piece
		c.expectSimple(2, 0)
		c.expect(content[1000 : 1000+3<<20])
		c.request(0, cmdRead, 3, 0, 0)
		c.expectSimple(3, 0)
		c.disconnect()
	})
	t.Run("structured", func(t *testing.T) {
		c := v.transmit(t, true)
		c.request(0, cmdRead, 1, 100, 1000)
		c.expectChunk(replyFlagDone, replyOffsetData, 1, uint64(100), content[100:1100])
		c.request(0, cmdRead, 2, 5<<20, 1<<20)
		c.expectChunk(replyFlagDone, replyOffsetHole, 2, uint64(5<<20), uint32(1<<20))
		c.request(0, cmdRead, 3, 4<<20-1, 2)
		c.expectChunk(replyFlagDone, replyOffsetData, 3, uint64(4<<20-1), content[4<<20-1:], byte(0))
		c.request(0, cmdRead, 4, 17, 0)
		c.expectChunk(replyFlagDone, 0, 4)
		c.disconnect()
	})
	t.Run("structured, not to be fragmented", func(t *testing.T) {
		c := v.transmit(t, true)
		c.request(cmdFlagDF, cmdRead, 1, 5<<20, 4096)
		c.expectChunk(replyFlagDone, replyOffsetData, 1, uint64(5<<20), make([]byte, 4096))
		c.request(cmdFlagDF, cmdRead, 2, 1, segment)
		c.expectChunk(replyFlagDone, replyOffsetData, 2, uint64(1), content[1:1+segment])
		c.request(cmdFlagDF, cmdRead, 3, 0, segment+1)
		c.expectError(3, nbdEOVERFLOW, nil)
		c.disconnect()
	})
	t.Run("structured, in several chunks", func(t *testing.T) {
		c := v.transmit(t, true)
		const offset, length = 1<<20 - 300, 6 << 20
		c.request(0, cmdRead, 1, offset, length)
		got, chunks := bytes.Repeat([]byte{0xee}, length), 0
		for done := false; !done; chunks++ {
			k := c.chunk()
			at := binary.BigEndian.Uint64(k.payload) - offset
			switch k.typ {
			case replyOffsetData:
				copy(got[at:], k.payload[8:])
			case replyOffsetHole:
				clear(got[at:][:binary.BigEndian.Uint32(k.payload[8:])])
			default:
				t.Fatalf("chunk %v", k)
			}
			done = k.flags == replyFlagDone
		}
		if !bytes.Equal(got, m.content()[offset:offset+length]) {
			t.Error("the bytes differ")
		}
		if chunks != 7 {
			t.Errorf("%d chunks, want 7 that end at multiples of 1 MiB", chunks)
		}
		c.disconnect()
	})
}

func TestWritesReachTheBackendBeforeTheirReply(t *testing.T) {
	m := newMemory(16 << 20)
	c := serveDisk(t, m).transmit(t, false)
	want := make([]byte, m.size)
	content := pattern(9 << 20)
	for i, r := range []struct{ offset, length int }{{0, 1}, {4095, 2}, {1 << 20, segment}, {3<<20 - 5, 9 << 20}, {16<<20 - 1, 1}} {
		copy(want[r.offset:], content[:r.length])
		c.request(0, cmdWrite, uint64(i), uint64(r.offset), uint32(r.length), content[:r.length])
		c.expectSimple(uint64(i), 0)
		if !bytes.Equal(m.content(), want) {
			t.Fatalf("after writing %d bytes at %d the disk is another", r.length, r.offset)
		}
	}
	if n := m.counted().syncs; n != 0 {
		t.Errorf("%d syncs that nobody asked for", n)
	}
	c.disconnect()
}

func TestFlushAndFUASync(t *testing.T) {
	m := newMemory(8 << 20)
	c := serveDisk(t, m).transmit(t, false)
	for i, r := range []struct {
		name       string
		flags, cmd uint16
		length     uint32
		syncs      int
	}{
		{"flush", 0, cmdFlush, 0, 1},
		{"flush with FUA", cmdFlagFUA, cmdFlush, 0, 1},
		{"write with FUA", cmdFlagFUA, cmdWrite, 4096, 1},
		{"write in several steps with FUA", cmdFlagFUA, cmdWrite, 4 << 20, 1},
		{"trim with FUA", cmdFlagFUA, cmdTrim, 4096, 1},
		{"zeroes with FUA", cmdFlagFUA, cmdWriteZeroes, 4096, 1},
		{"cache with FUA", cmdFlagFUA, cmdCache, 4096, 0},
		{"write", 0, cmdWrite, 4096, 0},
		{"trim", 0, cmdTrim, 4096, 0},
		{"zeroes", 0, cmdWriteZeroes, 4096, 0},
	} {
		before := m.counted().syncs
		var payload []byte
		if r.cmd == cmdWrite {
			payload = pattern(int(r.length))
		}
		c.request(r.flags, r.cmd, uint64(i), 0, r.length, payload)
		c.expectSimple(uint64(i), 0)
		if got := m.counted().syncs - before; got != r.syncs {
			t.Errorf("%s: %d syncs, want %d", r.name, got, r.syncs)
		}
	}
	c.disconnect()
}

func TestReadOnlyBackendIsNeverWritten(t *testing.T) {
	m := newMemory(1 << 20)
	c := serve(t, Config{Exports: []Export{{Name: "vda", Backend: m, ReadOnly: true}}}).transmit(t, false)
	for i, cmd := range []uint16{cmdWrite, cmdTrim, cmdWriteZeroes} {
		var payload []byte
		if cmd == cmdWrite {
			payload = pattern(512)
		}
		c.request(0, cmd, uint64(i), 0, 512, payload)
		c.expectSimple(uint64(i), nbdEPERM)
	}
	c.request(0, cmdFlush, 9, 0, 0)
	c.expectSimple(9, 0)
	c.disconnect()
	if n := m.counted(); n.writes+n.trims+n.zeroes+n.syncs > 0 {
		t.Errorf("the backend was called: %+v", n)
	}
}

func TestZeroesTellTheBackendWhatTheyMayDo(t *testing.T) {
	m := newMemory(1 << 20)
	c := serveDisk(t, m).transmit(t, false)
	for i, r := range []struct {
		flags          uint16
		mayUnmap, fast bool
	}{{0, true, false}, {cmdFlagNoHole, false, false}, {cmdFlagFastZero, true, true}, {cmdFlagNoHole | cmdFlagFastZero, false, true}} {
		c.request(r.flags, cmdWriteZeroes, uint64(i), 0, 512)
		c.expectSimple(uint64(i), 0)
		if n := m.counted(); n.mayUnmap != r.mayUnmap || n.fast != r.fast {
			t.Errorf("flags %#x: mayUnmap %v, fast %v", r.flags, n.mayUnmap, n.fast)
		}
	}
	c.disconnect()
}

func TestTransmissionThatCannotGoOnEnds(t *testing.T) {
	v := serveDisk(t, newMemory(1<<20))
	for _, test := range []struct {
		name string
		send []byte
	}{
		{"wrong magic", message(uint32(0x25609514), make([]byte, 24))},
		{"an option", message("IHAVEOPT", optList, uint32(0), make([]byte, 12))},
		{"a refused write of four gigabytes", header(0, cmdWrite, 1, 0, 1<<32-1)},
		{"a refused write of a byte too many", header(0, cmdWrite, 1, 0, maxDiscard+1)},
		{"disconnect", header(0, cmdDisc, 1, 0, 0)},
		{"disconnect with nonsense in it", header(0xffff, cmdDisc, 1, 1<<40, 77)},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := v.transmit(t, false)
			c.send(test.send)
			c.expectEnd()
		})
	}
}

func TestRefusedWriteIsSkippedWhole(t *testing.T) {
	c := serveDisk(t, newMemory(1<<20)).transmit(t, false)
	payload := pattern(40 << 20) // more than any request may have
	c.request(0, cmdWrite, 1, 0, uint32(len(payload)), payload)
	c.expectSimple(1, nbdENOSPC)
	c.request(0, cmdRead, 2, 0, 3)
	c.expectSimple(2, 0)
	c.expect([]byte{0, 0, 0})
	c.disconnect()
}

func TestOnlyZerosCountAsZeros(t *testing.T) {
	for _, n := range []int{1, 2, 3, 7, 8, 9, 4096, 4097, segment} {
		b := make([]byte, n)
		if !allZero(b) {
			t.Errorf("%d zeros are none", n)
		}
		for _, i := range []int{0, n / 2, n - 1} {
			b[i] = 1
			if allZero(b) {
				t.Errorf("%d bytes with a 1 at %d are zeros", n, i)
			}
			b[i] = 0
		}
	}
}
