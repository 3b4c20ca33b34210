package nbdconn

import (
	"errors"

	"golang.org/x/sys/unix"
	"libguestfs.org/libnbd"
)

// wait returns when the request has its reply.
//
// It waits with Go's network poller and lets libnbd move only what can be moved at
// once: a goroutine that waited inside libnbd would keep a thread, and the runtime
// would take its time to notice.
func (c *Conn) wait(cookie uint64) error {
	for {
		ok, err := c.h.AioCommandCompleted(cookie)
		if ok || err != nil {
			return err
		}
		if err := c.turn(); err != nil {
			// A dead connection fails its requests with a better reason than ours.
			if _, cmdErr := c.h.AioCommandCompleted(cookie); cmdErr != nil {
				return cmdErr
			}
			return err
		}
	}
}

// turn waits until the socket is ready for what libnbd wants of it, and lets it do
// that.
//
// Where libnbd wants to write, only that is waited for, though a reply may come
// first: with inFlight requests at most, their replies' headers always fit into the
// socket, and a server with data to send has read the requests for it.
func (c *Conn) turn() error {
	dir, err := c.h.AioGetDirection()
	if err != nil {
		return err
	}
	var moved error
	switch {
	case dir&uint(libnbd.AIO_DIRECTION_WRITE) != 0:
		err = c.raw.Write(func(fd uintptr) bool {
			return ready(fd, unix.POLLOUT, &moved, c.h.AioNotifyWrite)
		})
	case dir&uint(libnbd.AIO_DIRECTION_READ) != 0:
		err = c.raw.Read(func(fd uintptr) bool {
			return ready(fd, unix.POLLIN, &moved, c.h.AioNotifyRead)
		})
	default:
		return errors.New("the NBD connection has ended")
	}
	return errors.Join(err, moved)
}

// ready calls move if the descriptor is ready. The poller reports changes only, so
// whether there is something to do has to be asked each time.
func ready(fd uintptr, event int16, err *error, move func() error) bool {
	if !pollable(fd, event) {
		return false
	}
	*err = move()
	return true
}

// pollable tells whether a descriptor is ready for an event, or broken.
func pollable(fd uintptr, event int16) bool {
	p := []unix.PollFd{{Fd: int32(fd), Events: event}}
	for {
		n, err := unix.Poll(p, 0)
		if err != unix.EINTR {
			return n > 0 || err != nil
		}
	}
}
