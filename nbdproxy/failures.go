package nbdproxy

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
)

// failures tells the log of requests that the backend failed: of the first, and at the
// end how many there were. A client can have as many as it likes.
type failures struct {
	log   *slog.Logger
	count atomic.Int64
}

func (f *failures) note(j *job, err error) {
	if errors.Is(err, context.Canceled) {
		return // the connection ends, which is no failure
	}
	if f.count.Add(1) == 1 {
		f.log.Warn("a request failed", "command", commandName(j.command), "offset", j.offset, "length", j.length, "error", err)
	}
}

func commandName(command uint16) string {
	switch command {
	case cmdRead:
		return "read"
	case cmdWrite:
		return "write"
	case cmdFlush:
		return "flush"
	case cmdTrim:
		return "trim"
	case cmdCache:
		return "cache"
	case cmdWriteZeroes:
		return "write zeroes"
	}
	return "block status"
}
