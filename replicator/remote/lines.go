package remote

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"sync"
)

// maxMessage bounds one message, in bytes. The largest ones carry a domain's
// XML; the bound keeps a broken or hostile peer from taking all memory.
const maxMessage = 16 << 20

var (
	errTooLong = errors.New("message too long")
	errBatch   = errors.New("a message that is a batch: nobody sends those, and there is no bound on them")
)

// lines is a jrpc2 channel of newline-terminated messages.
type lines struct {
	r     *bufio.Scanner
	w     io.Writer
	close func() error
	heard func() error // called for every message that arrives; an error is the last one
	ended func()       // called when no more can arrive; may be nil
	once  sync.Once
}

func newLines(r io.Reader, w io.Writer, closer func() error, heard func() error, ended func()) *lines {
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 64<<10), maxMessage)
	return &lines{r: s, w: w, close: closer, heard: heard, ended: ended}
}

// Send writes one message. JSON has no raw newlines, so none needs escaping.
func (l *lines) Send(msg []byte) error {
	if len(msg) >= maxMessage {
		return errTooLong
	}
	_, err := l.w.Write(append(msg[:len(msg):len(msg)], '\n'))
	return err
}

// Recv reads one message; io.EOF when the peer has closed.
func (l *lines) Recv() ([]byte, error) {
	err := l.next()
	if err == nil {
		err = l.heard()
	}
	if err != nil {
		if l.ended != nil {
			l.ended()
		}
		return nil, err
	}
	return append([]byte(nil), l.r.Bytes()...), nil
}

// next has a message in r.Bytes.
func (l *lines) next() error {
	if !l.r.Scan() {
		if err := l.r.Err(); err != nil {
			return err
		}
		return io.EOF
	}
	if bytes.HasPrefix(bytes.TrimSpace(l.r.Bytes()), []byte("[")) {
		return errBatch
	}
	return nil
}

// Close closes the channel once.
func (l *lines) Close() error {
	var err error
	l.once.Do(func() { err = l.close() })
	return err
}
