package proc

import (
	"bytes"
	"strings"
	"sync"
)

// tailMax bounds what is kept of a child's stderr, in bytes.
const tailMax = 4096

// tail is a writer that keeps the last bytes written to it. It is safe for
// several goroutines.
type tail struct {
	mu  sync.Mutex
	buf []byte
	cut bool // something before buf was dropped
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := len(b)
	if len(b) > tailMax {
		b, t.cut = b[len(b)-tailMax:], true
	}
	if over := len(t.buf) + len(b) - tailMax; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
		t.cut = true
	}
	t.buf = append(t.buf, b...)
	return n, nil
}

// String returns the kept text, from the first whole line on if something was
// dropped, as valid UTF-8 without surrounding white space.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := t.buf
	if t.cut {
		if i := bytes.IndexByte(b, '\n'); i >= 0 && i+1 < len(b) {
			b = b[i+1:]
		}
	}
	return strings.ToValidUTF8(strings.TrimSpace(string(b)), "\uFFFD")
}
