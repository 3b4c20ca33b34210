package stream

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/zeebo/xxh3"
)

// MaxLanes bounds the connections of one stream.
const MaxLanes = 16

// laneMagic opens every connection of a stream but the one with its header.
const laneMagic = "vmslane\n"

// lanePreface is what opens a further connection: magic, version, the connection's
// number (from 1 on) and the key of the stream that it belongs to.
func lanePreface(lane int, key uint64) []byte {
	b := make([]byte, 0, prefaceSize)
	b = append(b, laneMagic...)
	b = binary.LittleEndian.AppendUint32(b, Version)
	b = binary.LittleEndian.AppendUint32(b, uint32(lane))
	return binary.LittleEndian.AppendUint64(b, xxh3.HashSeed(b, key))
}

// checkLanePreface returns the connection's number.
func checkLanePreface(b []byte, key uint64) (int, error) {
	if v := binary.LittleEndian.Uint32(b[8:]); v != Version {
		return 0, fmt.Errorf("%w: a connection of version %d; this program knows version %d", ErrInvalid, v, Version)
	}
	if xxh3.HashSeed(b[:16], key) != binary.LittleEndian.Uint64(b[16:]) {
		return 0, fmt.Errorf("%w: a connection that belongs to another stream, or is damaged", ErrInvalid)
	}
	n := binary.LittleEndian.Uint32(b[12:])
	if n < 1 || n >= MaxLanes {
		return 0, fmt.Errorf("%w: a connection with the number %d", ErrInvalid, n)
	}
	return int(n), nil
}

// flusher is a lane that keeps back what is written until it is told to send it.
type flusher interface{ Flush() error }

// outlet is one connection of an encoder.
type outlet struct {
	w    io.Writer
	sent DiskSum // of frames that went this way
}
