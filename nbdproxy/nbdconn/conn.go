// Package nbdconn is one connection to an NBD server, made with libnbd.
//
// A [Conn] belongs to one goroutine at a time; parallelism comes from several
// connections and, within one, from the requests that [Conn.Do] keeps in flight.
// A [Shared] is for many goroutines at once, each with a request of its own.
// Cancelling the context given to [Dial] cuts the connection and so ends every
// call that waits for the server. The package must never hand memory to C that
// could be freed or used again while a request is under way: whoever changes Do
// or [Shared] should read its comments twice.
package nbdconn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"libguestfs.org/libnbd"

	"vmsync/internal/deadpeer"
)

// handshakeLimit bounds connecting and the NBD handshake. Servers answer within
// milliseconds; one that does not is hung, or no NBD server.
const handshakeLimit = 30 * time.Second

// sendBuffer is what a socket may hold of our writes, in bytes.
const sendBuffer = 4 << 20

// Options name an export.
type Options struct {
	Socket  string // path of the server's unix socket; or empty, and
	Address string // its TCP address, host:port
	Export  string
	// Contexts are the metadata contexts that BlockStatus will ask for. A server
	// that lacks one of them is refused.
	Contexts []string
	// Optional are contexts that the server may lack; [Conn.Has] tells.
	Optional []string
	// Align makes libnbd refuse requests that are not aligned as the server wants
	// them, instead of leaving that to the server.
	Align bool
}

// server is where the options lead.
func (o *Options) server() string {
	if o.Socket != "" {
		return o.Socket
	}
	return o.Address
}

// Conn is one connection. See the package comment for its rules.
type Conn struct {
	h    *libnbd.Libnbd
	size int64
	stop func() bool

	onePiece bool // whether reads may ask for their reply in one piece

	// sock is the connection that libnbd reads and writes through a descriptor of
	// its own: it serves for waiting and for cutting.
	sock net.Conn
	raw  syscall.RawConn
}

// Dial connects to an export. Cancelling ctx at any later time cuts the
// connection.
func Dial(ctx context.Context, o Options) (*Conn, error) {
	c, err := dial(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("connecting to NBD export %q at %s: %w", o.Export, o.server(), cause(ctx, err))
	}
	return c, nil
}

func dial(ctx context.Context, o Options) (*Conn, error) {
	h, err := libnbd.Create()
	if err != nil {
		return nil, err
	}
	c := &Conn{h: h, stop: func() bool { return true }}
	if err := c.handshake(ctx, o); err != nil {
		c.kill()
		return nil, err
	}
	return c, nil
}

func (c *Conn) handshake(ctx context.Context, o Options) error {
	if err := c.h.SetExportName(o.Export); err != nil {
		return err
	}
	// A client that asks for block sizes has to align its requests to them. One that
	// does not leaves unaligned ends to the server, which qemu has to be able to do anyway.
	if err := c.h.SetRequestBlockSize(o.Align); err != nil {
		return err
	}
	// libnbd fails a read that did not bring as many bytes as were asked for;
	// clearing each buffer first would cost a pass over memory.
	if err := c.h.SetPreadInitialize(false); err != nil {
		return err
	}
	for _, name := range slices.Concat(o.Contexts, o.Optional) {
		if err := c.h.AddMetaContext(name); err != nil {
			return err
		}
	}
	sock, err := c.connect(ctx, &o)
	if err != nil {
		return err
	}
	limit := time.AfterFunc(handshakeLimit, c.shutdown)
	defer limit.Stop()
	if err := c.h.ConnectSocket(sock); err != nil {
		return err
	}
	// Read ahead of use: a context that was not negotiated would otherwise look
	// like "nothing changed" to whoever forgets to ask.
	for _, name := range o.Contexts {
		ok, err := c.Has(name)
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("the server has no metadata context %q", name)
		}
	}
	size, err := c.h.GetSize()
	if err != nil {
		return err
	}
	c.size = int64(size) // libnbd refuses sizes above 2^63-1
	return c.askForOnePiece()
}

// askForOnePiece lets reads ask for their reply in one piece, if the server can do
// that. A server that has begun to send a reply in pieces can no longer refuse the
// request, and qemu closes the connection when it then fails to read; and qemu looks
// up which of the pieces are holes, each time.
func (c *Conn) askForOnePiece() error {
	can, err := c.h.CanDf()
	if err != nil || !can {
		return err
	}
	// libnbd knows no flag for a plain read, and passes on those of a read's replies
	// only when it is told not to check flags.
	strict, err := c.h.GetStrictMode()
	if err != nil {
		return err
	}
	c.onePiece = true
	return c.h.SetStrictMode(strict &^ libnbd.STRICT_FLAGS)
}

// startRead starts to fill b.
func (c *Conn) startRead(b libnbd.AioBuffer, offset uint64, onePiece bool) (uint64, error) {
	return c.h.AioPread(b, offset, &libnbd.AioPreadOptargs{FlagsSet: onePiece, Flags: libnbd.CMD_FLAG_DF})
}

// connect returns a connected socket for libnbd to own.
func (c *Conn) connect(ctx context.Context, o *Options) (int, error) {
	network, d := "tcp", net.Dialer{Timeout: handshakeLimit, KeepAliveConfig: deadpeer.KeepAlive()}
	if o.Socket != "" {
		network = "unix"
	}
	conn, err := d.DialContext(ctx, network, o.server())
	if err != nil {
		return -1, err
	}
	c.sock = conn
	if c.raw, err = conn.(syscall.Conn).SyscallConn(); err != nil {
		return -1, err
	}
	sock := -1
	var dupErr error
	err = c.raw.Control(func(fd uintptr) {
		// A hint: with the small default, sender and receiver wake each other several
		// times for each request.
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF, sendBuffer)
		sock, dupErr = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0)
	})
	if err := errors.Join(err, dupErr); err != nil {
		return -1, err
	}
	c.stop = context.AfterFunc(ctx, c.shutdown)
	return sock, nil
}

// shutdown cuts the connection, which ends every wait of libnbd's and of ours; any
// goroutine may call it.
func (c *Conn) shutdown() {
	// The error is that of a connection that is closed already.
	_ = c.raw.Control(func(fd uintptr) { _ = unix.Shutdown(int(fd), unix.SHUT_RDWR) })
}

// kill closes without a word to the server. It also ends every request in flight:
// once it returns, libnbd touches no buffer of theirs.
func (c *Conn) kill() {
	c.free()
	if c.sock != nil {
		_ = c.sock.Close()
	}
}

// free is kill without closing our own descriptor of the socket, which would wait for
// who is waiting for that.
func (c *Conn) free() {
	c.stop()
	if c.h != nil {
		_ = c.h.Close()
		c.h = nil
	}
}

// Close says goodbye to the server and frees the connection. What was written is
// durable only after [Conn.Flush].
func (c *Conn) Close() {
	if c.h != nil {
		_ = c.h.Shutdown(nil)
	}
	c.kill()
}

// Size is the export's size in bytes.
func (c *Conn) Size() int64 { return c.size }

// Flush waits until what was written is on stable storage.
func (c *Conn) Flush() error {
	if c.h == nil {
		return errClosed
	}
	return c.h.Flush(nil)
}

var errClosed = errors.New("the NBD connection is closed")

// cause prefers the reason a context was cancelled to the broken connection that
// cancelling it made.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// NoSpace tells whether a server refused a request because its storage is full.
func NoSpace(err error) bool {
	var e *libnbd.LibnbdError
	return errors.As(err, &e) && slices.Contains([]unix.Errno{unix.ENOSPC, unix.EDQUOT}, e.Errno)
}
