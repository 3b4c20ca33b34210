package nbdproxy

import (
	"bufio"
	"crypto/tls"
	"net"
	"sync"
)

// maxBatch is how many bytes of replies one system call writes before their memory
// is given back and new requests are admitted; a longer reply is written alone.
const maxBatch = 256 << 10

// tlsRecord is the most payload of one TLS record, in bytes.
const tlsRecord = 16 << 10

// replyWriter writes the replies of one connection, in the order in which they come. There is
// no goroutine to it: whoever has a reply while nobody writes does the writing, also for
// those who come meanwhile and need not wait.
type replyWriter struct {
	sink    sink
	release func(*job)  // takes jobs whose reply was sent, or never will be
	broken  func(error) // called once, when writing has failed

	mu      sync.Mutex
	queue   []*job
	writing bool

	// Of whoever writes.
	batch  []*job
	pieces net.Buffers
	failed bool
}

// send writes a job's reply, or leaves that to whoever is writing.
func (w *replyWriter) send(j *job) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if j.whole != nil && j.whole.left.Add(-1) > 0 {
		notLast(j.head[:])
	}
	w.queue = append(w.queue, j)
	if w.writing {
		return
	}
	w.writing = true
	for len(w.queue) > 0 {
		w.takeBatch()
		w.mu.Unlock()
		w.writeBatch()
		w.mu.Lock()
	}
	w.writing = false
}

// takeBatch moves the first replies out of the queue.
func (w *replyWriter) takeBatch() {
	n, size := 0, 0
	for _, j := range w.queue {
		size += j.headLen + len(j.body)
		if n > 0 && size > maxBatch {
			break
		}
		n++
	}
	w.batch = append(w.batch[:0], w.queue[:n]...)
	w.queue = append(w.queue[:0], w.queue[n:]...)
}

func (w *replyWriter) writeBatch() {
	if !w.failed {
		pieces := w.pieces[:0]
		for _, j := range w.batch {
			pieces = append(pieces, j.head[:j.headLen])
			if len(j.body) > 0 {
				pieces = append(pieces, j.body)
			}
		}
		w.pieces = pieces
		if err := w.sink.write(pieces); err != nil {
			w.failed = true
			w.broken(err)
		}
		clear(pieces)
	}
	for _, j := range w.batch {
		w.release(j)
	}
}

// sink writes pieces of memory as one.
type sink interface {
	write(pieces net.Buffers) error
}

func newSink(conn net.Conn) sink {
	if c, ok := conn.(*tls.Conn); ok {
		return &recordSink{bufio.NewWriterSize(c, tlsRecord)}
	}
	return &vectorSink{conn: conn}
}

// vectorSink hands all pieces to the kernel at once.
type vectorSink struct {
	conn   net.Conn
	pieces net.Buffers // here, so that it is not allocated for each write
}

func (s *vectorSink) write(pieces net.Buffers) error {
	s.pieces = pieces
	_, err := s.pieces.WriteTo(s.conn)
	return err
}

// recordSink fills TLS records, so that headers do not become records of their own.
type recordSink struct{ w *bufio.Writer }

func (s *recordSink) write(pieces net.Buffers) error {
	for _, p := range pieces {
		if _, err := s.w.Write(p); err != nil {
			return err
		}
	}
	return s.w.Flush()
}
