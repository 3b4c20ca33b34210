package nbdconn

import "sync/atomic"

const (
	warmAfter = 128 << 20
	warmRead  = 16 << 20
)

// Warmth has a server keep its memory between requests once it is asked for much.
//
// qemu takes memory for each request and gives it back afterwards. Of what is given
// back glibc keeps as much as twice the longest block that ever was, and returns the rest to
// the kernel; so with requests of the usual length every one has its memory cleared and
// mapped anew, which costs as much as copying it. After one long request that ends. Other
// servers lose nothing but the time for one read.
//
// The zero value is for one server; its method may be called by several goroutines at once.
type Warmth struct{ read atomic.Int64 }

// Read tells that n bytes at offset were read, of an export of size bytes whose server takes
// requests of at most maximum bytes, 0 for any. When that has become much, it returns, once,
// the range of a read to be made and thrown away; otherwise length is 0. The range follows
// what was read, where the next requests are likely to go.
func (w *Warmth) Read(offset, n, size, maximum int64) (from, length int64) {
	after := w.read.Add(n)
	if after < warmAfter || after-n >= warmAfter {
		return 0, 0
	}
	length = min(warmRead, size)
	if maximum > 0 {
		length = min(length, maximum)
	}
	return min(offset+n, size-length), length
}
