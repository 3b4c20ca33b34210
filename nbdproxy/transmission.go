package nbdproxy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/pojntfx/go-nbd/pkg/protocol"
)

// headerBuffer is how many bytes are read ahead, so that requests that come
// together cost one system call. What of a payload is in it is copied once more.
const headerBuffer = 16 << 10

// transmission answers the requests of one connection. One goroutine reads, as
// many as requests may be under way work, and each reply is written as soon as
// it is there.
type transmission struct {
	agreement
	conn      net.Conn
	in        *bufio.Reader
	out       replyWriter
	admission *admission
	scratch   *scratch
	failures  *failures

	work    chan *job
	workers int
	limit   int // of workers
	wg      sync.WaitGroup

	mu    sync.Mutex
	cause error // why writing failed
}

func newTransmission(a agreement, conn net.Conn, l Limits, adm *admission, s *scratch, f *failures) *transmission {
	t := &transmission{
		agreement: a,
		conn:      conn,
		in:        bufio.NewReaderSize(conn, headerBuffer),
		admission: adm,
		scratch:   s,
		failures:  f,
		work:      make(chan *job),
		limit:     l.Requests,
	}
	t.out = replyWriter{sink: newSink(conn), release: adm.release, broken: t.broken}
	return t
}

// broken ends the connection when its client takes no more replies.
func (t *transmission) broken(err error) {
	t.mu.Lock()
	t.cause = fmt.Errorf("sending replies: %w", err)
	t.mu.Unlock()
	t.admission.close()
	t.conn.Close()
}

// run answers requests until the client says that it has no more, which is no
// error, or the connection ends. It returns when all that was under way is done,
// and sent if the client still takes it. Whoever closes the connection ends it.
func (t *transmission) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	err := t.read(ctx)
	if err != nil {
		cancel()
		t.admission.close()
		t.conn.Close()
	}
	close(t.work)
	t.wg.Wait()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.cause != nil {
		return t.cause
	}
	return err
}

// read takes requests until the client disconnects.
func (t *transmission) read(ctx context.Context) error {
	for {
		b, err := t.in.Peek(requestSize)
		if err != nil {
			if err == io.EOF && len(b) > 0 {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("reading a request: %w", err)
		}
		r := parseRequest(b)
		t.in.Discard(requestSize)
		if r.RequestMagic != protocol.TRANSMISSION_MAGIC_REQUEST {
			return violationf("wrong magic %#x of a request", r.RequestMagic)
		}
		if r.Type == cmdDisc {
			return nil
		}
		if err := t.accept(ctx, r); err != nil {
			return err
		}
	}
}

// accept turns a request into jobs and has them done.
func (t *transmission) accept(ctx context.Context, r request) error {
	if no := t.check(r); no.code != 0 {
		return t.refuse(r, no)
	}
	switch r.Type {
	case cmdRead:
		if t.structured && r.Length > segment {
			return t.acceptSegments(ctx, r)
		}
		return t.acceptOne(ctx, r, int(r.Length), 0)
	case cmdWrite:
		if r.Length > segment {
			return t.acceptSegments(ctx, r)
		}
		return t.acceptOne(ctx, r, int(r.Length), 0)
	case cmdBlockStatus:
		n, scratch := t.statusSize(r)
		return t.acceptOne(ctx, r, n, scratch)
	}
	return t.acceptOne(ctx, r, 0, 0)
}

// refuse answers a request that breaks a rule, and skips its payload.
func (t *transmission) refuse(r request, no refusal) error {
	if r.Type == cmdWrite {
		if r.Length > maxDiscard {
			return violationf("a refused write of %d bytes", r.Length)
		}
		if _, err := t.in.Discard(int(r.Length)); err != nil {
			return fmt.Errorf("reading a payload: %w", err)
		}
	}
	j := t.admit(r, 0, 0)
	if j == nil {
		return net.ErrClosed
	}
	if t.structured {
		j.failure(no.code, no.message)
	} else {
		j.simple(no.code, nil)
	}
	t.out.send(j)
	return nil
}

// admit waits until a job of the request may have n bytes of memory, and scratch bytes
// besides. It returns nil if the connection ends.
func (t *transmission) admit(r request, n, scratch int) *job {
	j := t.admission.admit(n, scratch)
	if j != nil {
		j.command, j.flags, j.handle = r.Type, r.CommandFlags, r.Handle
		j.offset, j.length = r.Offset, r.Length
	}
	return j
}

// acceptOne has a request done by one job.
func (t *transmission) acceptOne(ctx context.Context, r request, n, scratch int) error {
	j := t.admit(r, n, scratch)
	if j == nil {
		return net.ErrClosed
	}
	return t.start(ctx, j)
}

// acceptSegments has a request done in several jobs, which end at multiples of the
// segment's size, where backends keep things together.
func (t *transmission) acceptSegments(ctx context.Context, r request) error {
	end := r.Offset + uint64(r.Length)
	w := new(whole)
	w.left.Store(int32((end-1)/segment - r.Offset/segment + 1))
	for at := r.Offset; at < end; {
		n := min(end, (at/segment+1)*segment) - at
		j := t.admit(r, int(n), 0)
		if j == nil {
			return net.ErrClosed
		}
		j.offset, j.length, j.whole = at, uint32(n), w
		if err := t.start(ctx, j); err != nil {
			return err
		}
		at += n
	}
	return nil
}

// start reads a job's payload and hands it to a worker.
func (t *transmission) start(ctx context.Context, j *job) error {
	if j.command == cmdWrite {
		if _, err := io.ReadFull(t.in, j.payload()); err != nil {
			t.admission.release(j)
			return fmt.Errorf("reading a payload: %w", err)
		}
	}
	select {
	case t.work <- j:
		return nil
	default:
	}
	if t.workers == t.limit {
		t.work <- j
		return nil
	}
	t.workers++
	t.wg.Go(func() { t.worker(ctx, j) })
	return nil
}

// worker does one job after another, beginning with j.
func (t *transmission) worker(ctx context.Context, j *job) {
	for ok := true; ok; j, ok = <-t.work {
		t.do(ctx, j)
	}
}
