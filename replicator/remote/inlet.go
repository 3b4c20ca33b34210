package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"golang.org/x/term"

	"vmsync/nbdproxy/stream"
	"vmsync/replicator"
)

// Inlet is where a stream comes from that has no host to come from: stdin, as a
// rule. Only its header is looked into.
type Inlet struct {
	file *os.File
	head []byte // preface and header as they were read
}

// NewInlet makes an inlet of a file that is open for reading. It refuses a terminal
// with an error of KindUsage.
func NewInlet(f *os.File) (*Inlet, error) {
	if term.IsTerminal(int(f.Fd())) {
		return nil, &replicator.Error{Kind: replicator.KindUsage, Op: "read the stream from " + f.Name(),
			Hint: "bring a stream: vmsync receive < FILE, or vmsync send … | ssh HOST vmsync receive",
			Err:  errors.New("it is a terminal")}
	}
	return &Inlet{file: f}, nil
}

// Header reads the stream's header. It is called once, before the stream is fed to
// anything. An error is of KindStream, or of KindInput.
func (i *Inlet) Header(ctx context.Context) (*stream.Header, error) {
	type result struct {
		header *stream.Header
		err    error
	}
	done := make(chan result, 1)
	// Reading a file that brings nothing cannot be interrupted: then this goroutine
	// outlives the run and ends with the process.
	go func() {
		h, raw, err := stream.ReadHeader(i.file)
		i.head = raw
		done <- result{h, err}
	}()
	select {
	case r := <-done:
		if r.err != nil {
			return nil, headerError(r.err)
		}
		return r.header, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func headerError(err error) error {
	if !errors.Is(err, stream.ErrInvalid) && !errors.Is(err, stream.ErrTruncated) {
		return inputError(err)
	}
	return &replicator.Error{Kind: replicator.KindStream, Op: "read the stream's header", Err: err,
		Hint: "nothing was changed; is this what vmsync send wrote, all of it?"}
}

func inputError(err error) error {
	return &replicator.Error{Kind: replicator.KindInput, Op: "read the stream", Err: err, Hint: "the replica is as it was"}
}

// give copies the stream to conn, its header first, and closes conn once the other
// side has read the end.
func (i *Inlet) give(ctx context.Context, conn HalfCloser) error {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	var all atomic.Bool // everything was written
	given, ended := make(chan error, 1), make(chan error, 1)
	// As in Header, a read may outlive the run.
	go func() {
		err := i.copy(conn)
		if err == nil {
			all.Store(true)
			err = conn.CloseWrite()
		}
		given <- err
	}()
	go func() {
		_, err := conn.Read(make([]byte, 1))
		ended <- err
	}()
	for range 2 {
		select {
		case err := <-given:
			if err != nil {
				return whyNot(ctx, err)
			}
		case err := <-ended:
			if err != io.EOF || !all.Load() {
				return whyNot(ctx, &replicator.Error{Kind: replicator.KindPeer, Op: "bring the stream to the target",
					Err: fmt.Errorf("the connection did not last: %v", err)})
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

func whyNot(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func (i *Inlet) copy(to io.Writer) error {
	from := io.MultiReader(bytes.NewReader(i.head), i.file)
	buf := make([]byte, relayBuffer)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return &replicator.Error{Kind: replicator.KindPeer, Op: "bring the stream to the target", Err: err}
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return inputError(err)
		}
	}
}
