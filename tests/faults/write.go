package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"

	"vmsync/tests/lab"
)

// How a write changes its range.
type writeKind int

const (
	noise    writeKind = iota // bytes that do not compress
	pattern                   // one byte, again and again
	zero                      // zeros without data
	unmap                     // zeros, and the space may be given back
	discard                   // the space is given back
	allKinds                  // how many there are
)

// write is one change of a disk.
type write struct {
	disk           string
	offset, length int64 // multiples of 512
	kind           writeKind
	seed           uint64 // of what is written
}

// data is what a write puts there; nil for a discard.
func (w write) data() []byte {
	switch w.kind {
	case noise:
		b := make([]byte, w.length)
		_, _ = rand.NewChaCha8([32]byte{byte(w.seed), byte(w.seed >> 8), byte(w.seed >> 16), byte(w.seed >> 24), byte(w.seed >> 32)}).Read(b)
		return b
	case pattern:
		return bytes.Repeat([]byte{byte(w.seed)}, int(w.length))
	case zero, unmap:
		return make([]byte, w.length)
	}
	return nil
}

// on does to a content what the write does to the disk.
func (w write) on(c *content) {
	if w.kind == discard {
		c.discard(w.offset, w.length)
		return
	}
	c.write(w.offset, w.data())
}

// command is the write for qemu-io, which reads noise from a file.
func (w write) command(file string) string {
	where := fmt.Sprintf("%d %d", w.offset, w.length)
	switch w.kind {
	case noise:
		return "write -s " + file + " " + where
	case pattern:
		return fmt.Sprintf("write -P %d %s", byte(w.seed), where)
	case zero:
		return "write -z " + where
	case unmap:
		return "write -z -u " + where
	}
	return "discard " + where
}

// done is what qemu-io says when it is done.
func (w write) done() string {
	return fmt.Sprintf("%d/%d bytes at offset %d", w.length, w.length, w.offset)
}

// randomWrites makes n writes, from a sector to 4 MiB, most of them where others
// were before.
func randomWrites(rng *rand.Rand, disks []lab.DiskSpec, n int) []write {
	var writes []write
	for range n {
		disk := disks[rng.IntN(len(disks))]
		sectors := disk.Size / 512
		kind := writeKind(rng.IntN(int(allKinds)))
		most := rng.IntN(14)
		if kind >= zero {
			most = 9 + rng.IntN(5) // often whole clusters
		}
		length := min(1+rng.Int64N(1<<most), sectors)
		room := sectors - length
		offset := rng.Int64N(room + 1)
		switch rng.IntN(8) {
		case 0:
			offset = room // the disk's end
		case 1, 2, 3, 4:
			offset %= min(room, 16<<20/512) + 1
		}
		writes = append(writes, write{disk: disk.Target, offset: offset * 512, length: length * 512, kind: kind, seed: rng.Uint64()})
	}
	return writes
}

// withoutDiscards has zeros written instead: while a backup is open, and a fault may
// have left it open, qemu does nothing for a discard.
func withoutDiscards(writes []write) []write {
	for i := range writes {
		if writes[i].kind == discard {
			writes[i].kind = unmap
		}
	}
	return writes
}

// bulk is a write that takes a while to send.
func bulk(rng *rand.Rand, disks []lab.DiskSpec) write {
	disk := disks[rng.IntN(len(disks))]
	const length = 8 << 20
	return write{disk: disk.Target, offset: rng.Int64N((disk.Size-length)/512) * 512, length: length, kind: noise, seed: rng.Uint64()}
}
