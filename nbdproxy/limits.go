package nbdproxy

import (
	"errors"
	"fmt"
	"time"
)

// segment is the most payload that one step of a request carries, in bytes.
// Longer reads and writes are done in several steps, side by side.
const segment = 1 << 20

// maxPayload is the longest request the protocol lets a client hope for, in bytes.
const maxPayload = 32 << 20

// maxDiscard is the longest payload that is read only to be thrown away, in bytes.
// A client that sends more with a request that fails loses its connection.
const maxDiscard = 2 * maxPayload

// Limits of one side of the handshake.
const (
	maxOptions      = 256      // options in one handshake
	maxOptionLength = 64 << 10 // bytes of an option's data that are looked at
	maxOptionSkip   = 1 << 20  // bytes of an option's data that are skipped
)

// maxContexts bounds the metadata contexts one connection may select.
const maxContexts = 64

// maxStatusEntries bounds the entries of one context in one block status.
const maxStatusEntries = 8192

// Limits bound what clients can cost. A zero field stands for its default.
type Limits struct {
	// Connections is how many clients may be in transmission at once; 64. A client
	// beyond that is told so and refused.
	Connections int
	// Handshakes is how many clients may be in their handshake at once; 128. A
	// connection beyond that is closed as soon as it is accepted.
	Handshakes int
	// HandshakeTime is how long a client may take for its handshake, TLS included;
	// one minute.
	HandshakeTime time.Duration
	// Requests is how many requests of one connection are worked on at once; 32,
	// at most 1024. Requests of more than 1 MiB count once for each MiB.
	Requests int
	// ConnectionMemory is how many bytes of payload the requests of one connection may hold
	// at once; 32 MiB, at least the largest Maximum of an export's block sizes.
	ConnectionMemory int64
	// Memory is how many bytes of payload all connections may hold at once; 512 MiB,
	// at least 1 MiB for each of Connections and ConnectionMemory on top. Each
	// connection is sure of 1 MiB, a connection without structured replies of its
	// longest request; the rest goes to who needs it. So a connection that holds on
	// to what it got makes the others slower at most.
	Memory int64
}

func (l Limits) withDefaults() Limits {
	def := func(v, d int) int {
		if v == 0 {
			return d
		}
		return v
	}
	l.Connections = def(l.Connections, 64)
	l.Handshakes = def(l.Handshakes, 128)
	l.Requests = def(l.Requests, 32)
	if l.HandshakeTime == 0 {
		l.HandshakeTime = time.Minute
	}
	if l.ConnectionMemory == 0 {
		l.ConnectionMemory = 32 << 20
	}
	if l.Memory == 0 {
		l.Memory = 512 << 20
	}
	return l
}

// check tells what is wrong with limits that have their defaults filled in.
func (l Limits) check() error {
	switch {
	case l.Connections < 1 || l.Handshakes < 1 || l.Requests < 1 || l.HandshakeTime < 0:
		return errors.New("limits: every limit must be positive")
	case l.Requests > 1024:
		return fmt.Errorf("limits: %d requests at once are too many, 1024 is the most", l.Requests)
	case l.ConnectionMemory < segment:
		return fmt.Errorf("limits: %d bytes of memory for a connection are too few, it needs %d", l.ConnectionMemory, segment)
	case (l.Memory-l.ConnectionMemory)/segment < int64(l.Connections):
		return fmt.Errorf("limits: %d bytes of memory are too few for %d connections: each needs %d, and one %d", l.Memory, l.Connections, segment, l.ConnectionMemory)
	}
	return nil
}
