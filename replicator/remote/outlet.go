package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"vmsync/replicator"
)

// Outlet is where a stream goes that has no host to go to: stdout, as a rule.
type Outlet struct {
	file *os.File
	disk bool // what is written can be made durable
}

// NewOutlet makes an outlet of a file that is open for writing. It refuses, with an
// error of KindUsage, a terminal and whatever else would not keep a stream.
func NewOutlet(f *os.File) (*Outlet, error) {
	const way = "say where the stream is to go: vmsync send … > FILE, or … | ssh HOST vmsync receive"
	info, err := f.Stat()
	if err != nil {
		return nil, outputError(err)
	}
	refuse := func(why string) (*Outlet, error) {
		return nil, &replicator.Error{Kind: replicator.KindUsage, Op: "write the stream to " + f.Name(), Hint: way, Err: errors.New(why)}
	}
	o := &Outlet{file: f}
	st, ok := info.Sys().(*syscall.Stat_t)
	switch mode := info.Mode(); {
	case mode.IsRegular() && info.Size() > 0:
		return refuse("the file is not empty, and a stream's file holds nothing else")
	case mode.IsRegular(), mode.Type() == os.ModeDevice:
		o.disk = true
	case term.IsTerminal(int(f.Fd())):
		return refuse("it is a terminal")
	case ok && mode.Type()&os.ModeCharDevice != 0 && st.Rdev == unix.Mkdev(1, 3):
		// What stands in for a stdout that was closed is the same device.
		return refuse("nothing is kept there (it is /dev/null, or closed)")
	}
	return o, nil
}

// take copies a stream from conn to its end, makes it durable and closes conn, whose
// other side takes that for the word that all of it has arrived.
func (o *Outlet) take(ctx context.Context, conn HalfCloser) (int64, error) {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	type result struct {
		n   int64
		err error
	}
	done := make(chan result, 1)
	// A write to a pipe that nobody reads cannot be interrupted: then this goroutine
	// outlives the run and ends with the process.
	go func() {
		n, err := o.copy(conn)
		done <- result{n, err}
	}()
	select {
	case r := <-done:
		if ctx.Err() != nil {
			return r.n, context.Cause(ctx)
		}
		return r.n, r.err
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

func (o *Outlet) copy(from io.Reader) (n int64, err error) {
	buf := make([]byte, relayBuffer)
	for {
		k, err := from.Read(buf)
		if k > 0 {
			w, werr := o.file.Write(buf[:k])
			n += int64(w)
			if werr != nil {
				return n, outputError(werr)
			}
		}
		if err == io.EOF {
			return n, o.sync()
		}
		if err != nil {
			return n, &replicator.Error{Kind: replicator.KindPeer, Op: "read the stream from the source", Err: err}
		}
	}
}

func (o *Outlet) sync() error {
	if !o.disk {
		return nil
	}
	if err := o.file.Sync(); err != nil {
		return outputError(err)
	}
	return nil
}

// outputError is what a person who redirected stdout can do something about.
func outputError(err error) error {
	e := &replicator.Error{Kind: replicator.KindOutput, Op: "write the stream", Err: err,
		Hint: "what was written is incomplete, remove it; on the source everything is as it was"}
	switch {
	case errors.Is(err, syscall.EPIPE):
		e.Err = fmt.Errorf("whoever read the stream has closed the pipe: %w", err)
		e.Hint = "see what it said; on the source everything is as it was"
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		e.Kind = replicator.KindNoSpace
		e.Hint = "free space there, and remove what was written, which is incomplete; on the source everything is as it was"
	}
	return e
}
