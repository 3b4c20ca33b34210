package fusefs

import (
	"errors"
	"log"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"

	"vmsync/fusefs/filesystem"
)

// failure is where something could not be read.
type failure struct {
	domain, state string
	volume        string // or disk; empty for all of the state
	path          string // in the volume
}

// failures logs what cannot be read: each place once, and not too many of them at
// once. Who reads a broken disk gets an error for each file; the log need not.
type failures struct {
	log   atomic.Pointer[slog.Logger]
	limit *rate.Limiter

	mu   sync.Mutex
	told map[failure]bool
}

// maxTold bounds how many places are remembered as told.
const maxTold = 4096

func newFailures(to *slog.Logger) *failures {
	f := &failures{limit: rate.NewLimiter(1, 20), told: map[failure]bool{}}
	f.log.Store(to)
	return f
}

func (f *failures) logger() *slog.Logger { return f.log.Load() }

// library is a log for package fuse: of requests that make no sense, and of panics.
func (f *failures) library() *log.Logger { return log.New(fromLibrary{f}, "", 0) }

type fromLibrary struct{ *failures }

func (l fromLibrary) Write(p []byte) (int, error) {
	l.logger().Warn(strings.TrimSpace(string(p)))
	return len(p), nil
}

func (f *failures) report(at failure, err error) {
	if errors.Is(err, errGone) {
		return // retention took it: nothing failed
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.told[at] || !f.limit.Allow() {
		return
	}
	if len(f.told) >= maxTold {
		clear(f.told)
	}
	f.told[at] = true
	args := []any{"domain", at.domain, "state", at.state}
	if at.volume != "" {
		args = append(args, "volume", at.volume)
	}
	if at.path != "" {
		args = append(args, "path", at.path)
	}
	f.logger().Error("cannot be read", append(args, "error", err)...)
}

// unreadable tells of a volume that should be readable and is not.
func (f *failures) unreadable(s *session, volume string, err error) {
	if errors.Is(err, filesystem.ErrCorrupt) {
		f.report(failure{s.replica.domain, s.state, volume, ""}, err)
	}
}

// errReported is a failure of another file than the one that was asked about, which has been
// told of.
var errReported = errors.New("reported")

// errno gives the error number for an error, and whether it is nothing that should be
// told: an answer, not a failure.
func errno(err error) (number unix.Errno, expected bool) {
	var already unix.Errno
	switch {
	case err == nil:
		return 0, true
	case errors.Is(err, filesystem.ErrNotExist):
		return unix.ENOENT, true
	case errors.Is(err, filesystem.ErrNotDir):
		return unix.ENOTDIR, true
	case errors.Is(err, filesystem.ErrIsDir):
		return unix.EISDIR, true
	case errors.Is(err, filesystem.ErrInvalid):
		return unix.EINVAL, true
	case errors.Is(err, errGone):
		return unix.ESTALE, true
	case errors.Is(err, errReported):
		return unix.EIO, true
	case errors.As(err, &already) && slices.Contains(answers, already):
		return already, true
	}
	return unix.EIO, false
}

// answers are error numbers that tell of no failure.
var answers = []unix.Errno{unix.ENXIO, unix.EINVAL, unix.ENODATA, unix.ERANGE}
