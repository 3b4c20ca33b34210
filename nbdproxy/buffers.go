package nbdproxy

import (
	"math/bits"
	"sync"
)

// Buffers come in powers of two, from 4 KiB to the longest payload.
const (
	minBufferBits = 12
	maxBufferBits = 25
)

// buffers keeps memory for payloads, so that requests cost no garbage. It bounds
// nothing: admission does. The zero value is ready for use, by many goroutines at
// once.
type buffers struct {
	pools [maxBufferBits - minBufferBits + 1]sync.Pool
}

// buffer is memory for one payload. Its content is what its last user left.
type buffer struct {
	b     []byte
	class int
}

func bufferClass(n int) int {
	return max(bits.Len(uint(n-1)), minBufferBits) - minBufferBits
}

// bufferSize returns the bytes of memory that a payload of n bytes takes.
func bufferSize(n int) int64 {
	if n == 0 {
		return 0
	}
	return 1 << (bufferClass(n) + minBufferBits)
}

// get returns memory for n bytes, 1 to maxPayload.
func (p *buffers) get(n int) *buffer {
	class := bufferClass(n)
	if b, ok := p.pools[class].Get().(*buffer); ok {
		return b
	}
	return &buffer{b: make([]byte, 1<<(class+minBufferBits)), class: class}
}

func (p *buffers) put(b *buffer) { p.pools[b.class].Put(b) }
