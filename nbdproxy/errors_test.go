package nbdproxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

func TestErrnoOfBackendErrors(t *testing.T) {
	for _, test := range []struct {
		err  error
		want uint32
	}{
		{unix.EPERM, nbdEPERM},
		{unix.EACCES, nbdEPERM},
		{unix.EROFS, nbdEPERM},
		{unix.EIO, nbdEIO},
		{unix.ENOMEM, nbdENOMEM},
		{unix.EINVAL, nbdEINVAL},
		{unix.ENOSPC, nbdENOSPC},
		{unix.EDQUOT, nbdENOSPC},
		{unix.EFBIG, nbdENOSPC},
		{unix.EOVERFLOW, nbdEOVERFLOW},
		{unix.ENOTSUP, nbdENOTSUP},
		{unix.ESHUTDOWN, nbdESHUTDOWN},
		{unix.ENOENT, nbdEIO},
		{unix.Errno(0), nbdEIO},
		{errors.New("no number in it"), nbdEIO},
		{io.ErrUnexpectedEOF, nbdEIO},
		{fmt.Errorf("reading: %w", &os.PathError{Op: "read", Path: "/disk", Err: unix.ENOSPC}), nbdENOSPC},
		{errors.Join(errors.New("first"), unix.EINVAL), nbdEINVAL},
		{fmt.Errorf("asked: %w", context.Canceled), nbdESHUTDOWN},
	} {
		if got := errnoOf(test.err); got != test.want {
			t.Errorf("%v is %d, want %d", test.err, got, test.want)
		}
	}
}

func TestMessagesAreFitToBeShown(t *testing.T) {
	for _, test := range []struct{ in, want string }{
		{"", ""},
		{"no space left", "no space left"},
		{"été 日本", "été 日本"},
		{"a\nb\x00c\x1b[31m\u202e", "a\ufffdb\ufffdc\ufffd[31m\ufffd"},
		{"\xff\xfe", "\ufffd\ufffd"},
		{strings.Repeat("x", 600), strings.Repeat("x", maxMessage)},
		{strings.Repeat("x", maxMessage-1) + "é", strings.Repeat("x", maxMessage-1)},
		{strings.Repeat("\xff", 4096), strings.Repeat("\ufffd", maxMessage/3)},
	} {
		got := printable(test.in)
		if got != test.want || !utf8.ValidString(got) || len(got) > maxMessage {
			t.Errorf("%q became %q, want %q", test.in, got, test.want)
		}
	}
}

// broken is a disk whose calls fail as the test says. A nil function is the disk's own.
type broken struct {
	*memory
	read, write func(p []byte, offset int64) (int, error)
	sync        func() error
	zeroes      func(fast bool) error
}

func (b *broken) ReadAt(p []byte, offset int64) (int, error) {
	if b.read != nil {
		return b.read(p, offset)
	}
	return b.memory.ReadAt(p, offset)
}

func (b *broken) WriteAt(p []byte, offset int64) (int, error) {
	if b.write != nil {
		return b.write(p, offset)
	}
	return b.memory.WriteAt(p, offset)
}

func (b *broken) Sync() error {
	if b.sync != nil {
		return b.sync()
	}
	return b.memory.Sync()
}

func (b *broken) WriteZeroes(ctx context.Context, offset, length int64, mayUnmap, fast bool) error {
	if b.zeroes != nil {
		return b.zeroes(fast)
	}
	return b.memory.WriteZeroes(ctx, offset, length, mayUnmap, fast)
}

func at(offset uint64) *uint64 { return &offset }

func TestFailedReadFailsAloneAndSendsNoBytes(t *testing.T) {
	const bad = 3 << 20 // the only byte that cannot be read
	m := newMemory(8 << 20)
	m.WriteAt(pattern(8<<20), 0)
	content := m.content()
	for _, test := range []struct {
		name string
		read func(p []byte, offset int64) (int, error)
		code uint32
	}{
		{"error", func(p []byte, offset int64) (int, error) { return int(bad - offset), unix.ENOMEM }, nbdENOMEM},
		{"error without a number", func(p []byte, offset int64) (int, error) { return int(bad - offset), errors.New("line one\nline two") }, nbdEIO},
		{"less than asked for and no error", func(p []byte, offset int64) (int, error) { return int(bad - offset), nil }, nbdEIO},
		{"end of file", func(p []byte, offset int64) (int, error) { return int(bad - offset), io.EOF }, nbdEIO},
	} {
		t.Run(test.name, func(t *testing.T) {
			v := serveDisk(t, &broken{memory: m, read: func(p []byte, offset int64) (int, error) {
				if offset <= bad && bad < offset+int64(len(p)) {
					m.ReadAt(p, offset) // what must not get out
					return test.read(p, offset)
				}
				return m.ReadAt(p, offset)
			}})
			c := v.transmit(t, false)
			c.request(0, cmdRead, 1, bad-512, 4096)
			c.expectSimple(1, test.code)
			c.request(0, cmdRead, 2, bad-2<<20, 4<<20) // in one piece
			c.expectSimple(2, test.code)
			c.request(0, cmdRead, 3, 0, 512)
			c.expectSimple(3, 0)
			c.expect(content[:512])
			c.disconnect()

			c = v.transmit(t, true)
			c.request(0, cmdRead, 1, bad-512, 4096)
			if m := c.expectError(1, test.code, at(bad)); strings.ContainsAny(m, "\n") || m == "" {
				t.Errorf("message %q", m)
			}
			c.request(cmdFlagDF, cmdRead, 2, bad, 1)
			c.expectError(2, test.code, at(bad))
			c.request(0, cmdRead, 3, 0, 512)
			c.expectChunk(replyFlagDone, replyOffsetData, 3, uint64(0), content[:512])
			c.disconnect()
		})
	}
}

func TestOneBadSegmentOfALongReadIsReportedOnce(t *testing.T) {
	m := newMemory(8 << 20)
	m.WriteAt(pattern(8<<20), 0)
	v := serveDisk(t, &broken{memory: m, read: func(p []byte, offset int64) (int, error) {
		if offset == 2<<20 {
			return 77, unix.EIO
		}
		return m.ReadAt(p, offset)
	}})
	c := v.transmit(t, true)
	c.request(0, cmdRead, 1, 0, 4<<20)
	var failed, data int
	for done := false; !done; {
		k := c.chunk()
		done = k.flags == replyFlagDone
		switch k.typ {
		case replyOffsetData:
			data++
		case replyErrorOffset:
			failed++
			if !strings.HasSuffix(string(k.payload), string(message(uint64(2<<20+77)))) {
				t.Errorf("error chunk %v", k)
			}
		}
	}
	if data != 3 || failed != 1 {
		t.Errorf("%d chunks of data and %d errors", data, failed)
	}
	c.disconnect()
}

func TestFailedWriteFailsAlone(t *testing.T) {
	for _, test := range []struct {
		name  string
		write func(p []byte) (int, error)
		code  uint32
		at    uint64
	}{
		{"error", func(p []byte) (int, error) { return 0, unix.ENOSPC }, nbdENOSPC, 1 << 20},
		{"error in the middle", func(p []byte) (int, error) { return 100, unix.EDQUOT }, nbdENOSPC, 1<<20 + 100},
		{"less than asked for and no error", func(p []byte) (int, error) { return len(p) - 1, nil }, nbdEIO, 2<<20 - 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := newMemory(8 << 20)
			b := &broken{memory: m, write: func(p []byte, offset int64) (int, error) {
				if offset == 1<<20 {
					return test.write(p)
				}
				return m.WriteAt(p, offset)
			}}
			payload := pattern(4 << 20)
			v := serveDisk(t, b)
			c := v.transmit(t, false)
			c.request(0, cmdWrite, 1, 1<<20, segment, payload[:segment])
			c.expectSimple(1, test.code)
			c.request(0, cmdWrite, 2, 0, 4<<20, payload) // in several steps; one reply
			c.expectSimple(2, test.code)
			c.request(0, cmdWrite, 3, 0, 512, payload[:512])
			c.expectSimple(3, 0)
			c.disconnect()

			c = v.transmit(t, true)
			c.request(0, cmdWrite, 1, 1<<20, segment, payload[:segment])
			c.expectError(1, test.code, at(test.at))
			c.request(cmdFlagFUA, cmdWrite, 2, 0, 4<<20, payload)
			c.expectError(2, test.code, at(test.at))
			c.request(0, cmdFlush, 3, 0, 0)
			c.expectSimple(3, 0)
			c.disconnect()
			if n := m.counted().syncs; n != 1 {
				t.Errorf("%d syncs, one was asked for and not those of writes that failed", n)
			}
		})
	}
}

func TestFailedSyncFailsFlushAndFUA(t *testing.T) {
	b := &broken{memory: newMemory(1 << 20), sync: func() error { return unix.EIO }}
	c := serveDisk(t, b).transmit(t, false)
	c.request(0, cmdFlush, 1, 0, 0)
	c.expectSimple(1, nbdEIO)
	c.request(cmdFlagFUA, cmdWrite, 2, 0, 512, pattern(512))
	c.expectSimple(2, nbdEIO)
	c.request(cmdFlagFUA, cmdTrim, 3, 0, 512)
	c.expectSimple(3, nbdEIO)
	c.request(0, cmdWrite, 4, 0, 512, pattern(512))
	c.expectSimple(4, 0)
	c.disconnect()
}

func TestOnlyFastZeroesAreToldThatTheyAreNotSupported(t *testing.T) {
	b := &broken{memory: newMemory(1 << 20), zeroes: func(fast bool) error { return fmt.Errorf("zeroing: %w", unix.ENOTSUP) }}
	c := serveDisk(t, b).transmit(t, false)
	c.request(cmdFlagFastZero, cmdWriteZeroes, 1, 0, 512)
	c.expectSimple(1, nbdENOTSUP)
	c.request(0, cmdWriteZeroes, 2, 0, 512)
	c.expectSimple(2, nbdEINVAL)
	c.disconnect()
}

// A long write whose parts fail one and all still has one reply.
func TestLongWriteThatFailsEverywhereHasOneReply(t *testing.T) {
	var calls atomic.Int32
	b := &broken{memory: newMemory(32 << 20), write: func([]byte, int64) (int, error) { calls.Add(1); return 0, unix.EIO }}
	c := serveDisk(t, b).transmit(t, false)
	c.request(0, cmdWrite, 1, 0, 32<<20, pattern(32<<20))
	c.expectSimple(1, nbdEIO)
	c.request(0, cmdFlush, 2, 0, 0)
	c.expectSimple(2, 0)
	c.disconnect()
	if calls.Load() != 32 {
		t.Errorf("%d calls, want one for each MiB", calls.Load())
	}
}
