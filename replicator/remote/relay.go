package remote

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
)

// HalfCloser is a connection whose writing side can be closed on its own.
type HalfCloser interface {
	net.Conn
	CloseWrite() error
}

// relayBuffer is how much is copied at once, in bytes. It is larger than an SSH
// packet so that the unix socket's side needs fewer system calls.
const relayBuffer = 256 << 10

// Relay copies opaque bytes between two connections, both ways, until both have
// ended, one fails, or ctx is done; then it closes them. A connection that ends
// in an orderly way is passed on as such.
func Relay(ctx context.Context, a, b HalfCloser) error {
	defer a.Close()
	defer b.Close()
	stop := context.AfterFunc(ctx, func() {
		a.Close()
		b.Close()
	})
	defer stop()
	var wg sync.WaitGroup
	errs := make([]error, 2)
	for i, dir := range [][2]HalfCloser{{b, a}, {a, b}} {
		wg.Go(func() {
			dst, src := dir[0], dir[1]
			_, err := io.CopyBuffer(onlyWriter{dst}, onlyReader{src}, make([]byte, relayBuffer))
			if err == nil {
				err = dst.CloseWrite()
			}
			if err != nil {
				// The other direction has nobody to talk to any more.
				a.Close()
				b.Close()
			}
			errs[i] = err
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return errors.Join(errs...)
}

// onlyReader and onlyWriter hide ReadFrom and WriteTo, whose own buffers are
// small.
type onlyReader struct{ io.Reader }
type onlyWriter struct{ io.Writer }
