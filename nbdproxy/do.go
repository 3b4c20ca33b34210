package nbdproxy

import (
	"bytes"
	"context"
	"errors"
	"io"

	"golang.org/x/sys/unix"
)

// do does a job and sends its reply.
func (t *transmission) do(ctx context.Context, j *job) {
	switch j.command {
	case cmdRead:
		t.doRead(j)
	case cmdWrite:
		if !t.doWrite(j) {
			t.admission.release(j)
			return
		}
	case cmdBlockStatus:
		t.doStatus(ctx, j)
	default:
		err := t.doPlain(ctx, j)
		if err == nil && j.flags&cmdFlagFUA != 0 && j.command != cmdFlush && j.command != cmdCache {
			err = t.export.Backend.Sync()
		}
		if err != nil {
			t.fail(j, err)
		} else {
			j.simple(0, nil)
		}
	}
	t.out.send(j)
}

// doPlain does what has no payload in either direction.
func (t *transmission) doPlain(ctx context.Context, j *job) error {
	x, offset, length := t.export, int64(j.offset), int64(j.length)
	if j.command == cmdFlush {
		if x.ReadOnly {
			return nil
		}
		return x.Backend.Sync()
	}
	if length == 0 {
		return nil
	}
	switch j.command {
	case cmdTrim:
		return x.trimmer.Trim(ctx, offset, length)
	case cmdCache:
		return x.cacher.Cache(ctx, offset, length)
	}
	fast := j.flags&cmdFlagFastZero != 0
	err := x.zeroer.WriteZeroes(ctx, offset, length, j.flags&cmdFlagNoHole == 0, fast)
	if !fast && errors.Is(err, unix.ENOTSUP) {
		return errors.Join(unix.EINVAL, err) // only a fast request may be told that it is not supported
	}
	return err
}

// doRead reads. Zeros are sent as a hole: looking for them costs no more than a glance
// where there is data, and where there is none it is far cheaper than sending it.
func (t *transmission) doRead(j *job) {
	p := j.payload()
	n, err := readAt(t.export.Backend, p, int64(j.offset))
	switch {
	case err != nil:
		t.failAt(j, err, j.offset+uint64(n))
	case !t.structured:
		j.simple(0, p)
	case len(p) == 0:
		j.nothing()
	case j.flags&cmdFlagDF == 0 && allZero(p):
		j.hole()
	default:
		j.data(p)
	}
}

// readAt fills p, or returns an error and how many bytes came before it, less than
// all of p.
func readAt(r io.ReaderAt, p []byte, offset int64) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, err := r.ReadAt(p, offset)
	if n == len(p) {
		return n, nil // with io.EOF, at the end
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return max(0, min(n, len(p)-1)), err
}

// allZero tells whether p, of at least one byte, holds nothing but zeros.
func allZero(p []byte) bool {
	return p[0] == 0 && bytes.Equal(p[1:], p[:len(p)-1])
}

// doWrite tells whether there is a reply to send: a write in several jobs has one,
// when the last of them is done.
func (t *transmission) doWrite(j *job) bool {
	p := j.payload()
	var err error
	at := j.offset
	if len(p) > 0 {
		var n int
		n, err = t.export.Backend.WriteAt(p, int64(j.offset))
		if err == nil && n != len(p) {
			err = io.ErrShortWrite
		}
		at += uint64(max(0, min(n, len(p)-1)))
	}
	if j.whole != nil {
		if err != nil {
			j.whole.fail(err, at)
		}
		if j.whole.left.Add(-1) > 0 {
			return false
		}
		at, err = j.whole.failure()
		j.whole = nil // what is left is the reply to all of it
	}
	if err != nil {
		t.failAt(j, err, at)
		return true
	}
	if j.flags&cmdFlagFUA != 0 {
		if err := t.export.Backend.Sync(); err != nil {
			t.fail(j, err)
			return true
		}
	}
	j.simple(0, nil)
	return true
}

// fail makes the job's reply an error.
func (t *transmission) fail(j *job, err error) {
	t.failures.note(j, err)
	if t.structured {
		j.failure(errnoOf(err), err.Error())
	} else {
		j.simple(errnoOf(err), nil)
	}
}

// failAt makes the job's reply an error at an offset within the request.
func (t *transmission) failAt(j *job, err error, at uint64) {
	t.failures.note(j, err)
	if t.structured {
		j.failureAt(errnoOf(err), err.Error(), at)
	} else {
		j.simple(errnoOf(err), nil)
	}
}
