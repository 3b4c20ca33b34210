package nbdconn

import (
	"fmt"
	"runtime"
	"unsafe"

	"libguestfs.org/libnbd"
)

// Kind of an [Op].
type Kind uint8

// Kinds of requests.
const (
	Read  Kind = iota // fills Buf
	Write             // writes Buf
	Zero              // makes Length bytes read as zeros; the server may deallocate them
)

const (
	// inFlight bounds the requests under way on one connection. qemu's server
	// takes 16 per client.
	inFlight = 16
	// maxZero bounds one zero request: far below the protocol's 32 bits, large
	// enough to make their number no concern, and a multiple of every cluster size.
	maxZero = 1 << 30
)

// Op is one request of a batch.
type Op struct {
	Kind   Kind
	Offset int64
	Buf    []byte // Read, Write: at least one byte, at most 32 MiB
	Length int64  // Zero: bytes, at least 1
}

// Do runs a batch, several requests at a time and in no particular order. After
// an error the connection is closed.
func (c *Conn) Do(ops []Op) error {
	if c.h == nil {
		return errClosed
	}
	// libnbd keeps the address of each buffer until the request's reply has come,
	// beyond the call that passes it, so every buffer is pinned until then.
	var pins runtime.Pinner
	defer pins.Unpin()
	if err := c.do(ops, &pins); err != nil {
		// Replies may still be on their way into the buffers. Closing ends that,
		// before the deferred Unpin.
		c.kill()
		return err
	}
	return nil
}

func (c *Conn) do(ops []Op, pins *runtime.Pinner) error {
	var window [inFlight]uint64
	var sent, done int
	submit := func(cookie uint64, err error) error {
		if err != nil {
			return err
		}
		window[sent%inFlight] = cookie
		sent++
		if sent-done == inFlight {
			done++
			return c.wait(window[(done-1)%inFlight])
		}
		return nil
	}
	for i := range ops {
		op := &ops[i]
		switch op.Kind {
		case Read, Write:
			pins.Pin(&op.Buf[0])
			buf := libnbd.AioBuffer{P: unsafe.Pointer(&op.Buf[0]), Size: uint(len(op.Buf))}
			start := c.aioRead
			if op.Kind == Write {
				start = c.aioWrite
			}
			if err := submit(start(buf, uint64(op.Offset))); err != nil {
				return err
			}
		case Zero:
			for off, left := op.Offset, op.Length; left > 0; {
				// Cut on multiples of maxZero, so that no cut falls into a cluster.
				n := min(left, maxZero-off%maxZero)
				if err := submit(c.h.AioZero(uint64(n), uint64(off), nil)); err != nil {
					return err
				}
				off, left = off+n, left-n
			}
		default:
			return fmt.Errorf("unknown request %d", op.Kind)
		}
	}
	for ; done < sent; done++ {
		if err := c.wait(window[done%inFlight]); err != nil {
			return err
		}
	}
	return nil
}

func (c *Conn) aioRead(b libnbd.AioBuffer, off uint64) (uint64, error) {
	return c.startRead(b, off, c.onePiece)
}

func (c *Conn) aioWrite(b libnbd.AioBuffer, off uint64) (uint64, error) {
	return c.h.AioPwrite(b, off, nil)
}
