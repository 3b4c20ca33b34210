// Package upstream is an nbdproxy backend that passes everything on to another NBD
// server: libvirt's backup export, above all.
//
// Many requests of many clients are under way at once, over several connections if
// the server allows them. One that fails, fails alone and with the server's own
// errno. A lost connection is the end of the backend: it must never connect anew,
// because the same address may by then lead to the content of another point in time.
package upstream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"vmsync/nbdproxy"
	"vmsync/nbdproxy/nbdconn"
)

const (
	allocation  = "base:allocation"
	dirtyBitmap = "qemu:dirty-bitmap:"
)

// Config names an export of a server.
type Config struct {
	Socket  string // path of the server's unix socket; or empty, and
	Address string // its TCP address, host:port
	Export  string
	// Bitmap names a dirty bitmap ("backup-vda" for the metadata context
	// "qemu:dirty-bitmap:backup-vda") to offer as well. A server that lacks it is
	// refused. Empty stands for none.
	Bitmap string
	// Conns is how many connections are made, at least one, to a server that allows
	// several.
	Conns int
}

func (c *Config) String() string {
	if c.Socket != "" {
		return fmt.Sprintf("NBD export %q at %s", c.Export, c.Socket)
	}
	return fmt.Sprintf("NBD export %q at %s", c.Export, c.Address)
}

// Backend is an export of another server. Any number of goroutines may use it at once.
type Backend struct {
	config   Config
	conns    []*nbdconn.Shared
	load     []atomic.Int32 // requests under way on each of conns
	contexts []string
	status   map[string]*nbdconn.Shared // which connection to ask about a context
	warmth   nbdconn.Warmth

	done    context.Context // ends when a connection is lost
	lose    context.CancelCauseFunc
	closing chan struct{}
	watch   sync.WaitGroup
}

// maxPayload bounds the payload of one request, in bytes. Servers take no more.
const maxPayload = 32 << 20

// maxName bounds the name of an export, in bytes, as the protocol does.
const maxName = 4096

// errClosed is why a backend that was closed is done.
var errClosed = errors.New("closed")

// Dial connects to an export. Cancelling ctx later cuts the connections.
func Dial(ctx context.Context, c Config) (*Backend, error) {
	ctx, lose := context.WithCancelCause(ctx)
	b := &Backend{config: c, done: ctx, lose: lose, closing: make(chan struct{}), status: make(map[string]*nbdconn.Shared)}
	if err := b.dial(ctx); err != nil {
		b.Close()
		return nil, err
	}
	b.load = make([]atomic.Int32, len(b.conns))
	for _, conn := range b.conns {
		b.watch.Go(func() {
			select {
			case <-conn.Dead():
				lose(fmt.Errorf("%v: %w", &b.config, conn.Err()))
			case <-b.closing:
			}
		})
	}
	return b, nil
}

// dial makes the connections.
func (b *Backend) dial(ctx context.Context) error {
	o := nbdconn.Options{
		Socket: b.config.Socket, Address: b.config.Address, Export: b.config.Export,
		Align: true, Optional: []string{allocation},
	}
	if b.config.Bitmap != "" {
		o.Contexts = []string{dirtyBitmap + b.config.Bitmap}
	}
	first, err := b.add(ctx, o)
	if err != nil {
		return err
	}
	if first.Has(allocation) {
		b.contexts = append(b.contexts, allocation)
	}
	b.contexts = append(b.contexts, o.Contexts...)
	for _, name := range b.contexts {
		b.status[name] = first
	}
	o.Optional, o.Contexts = nil, nil
	if !first.Features().MultiConn {
		return nil
	}
	for i := 1; i < b.config.Conns; i++ {
		// A server works out every context of a connection when it is asked about one,
		// so each gets a connection of its own.
		o.Contexts = nil
		if len(b.contexts) > 1 && i <= len(b.contexts) {
			o.Contexts = b.contexts[i-1 : i]
		}
		conn, err := b.add(ctx, o)
		if err != nil {
			return err
		}
		for _, name := range o.Contexts {
			b.status[name] = conn
		}
	}
	return nil
}

// add makes one connection.
func (b *Backend) add(ctx context.Context, o nbdconn.Options) (*nbdconn.Shared, error) {
	conn, err := nbdconn.DialShared(ctx, o)
	if err != nil {
		return nil, err
	}
	b.conns = append(b.conns, conn)
	if first := b.conns[0]; conn.Size() != first.Size() {
		return nil, fmt.Errorf("%v has %d bytes on one connection and %d on another", &b.config, first.Size(), conn.Size())
	}
	return conn, nil
}

// Close ends the connections. Requests under way fail.
func (b *Backend) Close() {
	close(b.closing)
	b.watch.Wait()
	for _, conn := range b.conns {
		conn.Close()
	}
	b.lose(errClosed)
}

// Done is closed when the backend can serve no more; [Backend.Err] tells why.
func (b *Backend) Done() <-chan struct{} { return b.done.Done() }

// Err is why the backend is done, or nil.
func (b *Backend) Err() error { return context.Cause(b.done) }

// Export describes the backend as an export of ours: read-only if the server's is.
func (b *Backend) Export(name, description string) nbdproxy.Export {
	s := b.conns[0].Sizes()
	sizes := nbdproxy.BlockSizes{Minimum: 1, Preferred: 4096, Maximum: maxPayload}
	if s.Minimum > 0 {
		sizes.Minimum = uint32(s.Minimum)
	}
	if s.Preferred > 0 {
		sizes.Preferred = uint32(s.Preferred)
	}
	if s.Maximum > 0 {
		sizes.Maximum = uint32(min(s.Maximum, maxPayload))
	}
	return nbdproxy.Export{
		Name: name, Description: description, Backend: b, ReadOnly: b.conns[0].Features().ReadOnly,
		// Several connections are made only to a server that promises the same.
		MultiConn:  true,
		BlockSizes: sizes,
	}
}
