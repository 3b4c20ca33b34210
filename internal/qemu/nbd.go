package qemu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"vmsync/internal/proc"
)

// Export describes an image to serve over NBD.
type Export struct {
	Image string // path
	// Raw says that the image is no qcow2 but the disk's bytes, in a file or a device.
	Raw bool
	// Size is how many bytes of a raw image are the disk; 0 for all that there are.
	Size   int64
	Socket string // unix socket to make; must be in a private folder
	Name   string // export name
	// Clients is how many may connect at once; qemu-nbd announces multi-conn for
	// more than one.
	Clients int
	// ReadOnly serves the image without writing to it or locking it for writing.
	ReadOnly bool
	// Depth offers the meta context "qemu:allocation-depth", which tells what the image
	// holds itself and what comes from its backing files.
	Depth bool
}

// Server is a running qemu-nbd. It dies with this process.
type Server struct {
	export Export
	proc   *proc.Process
}

// startLimit bounds how long qemu-nbd may take until its socket answers. Opening
// a deep backing chain on a cold disk takes a while.
const startLimit = 60 * time.Second

// Serve starts qemu-nbd and returns when it accepts clients, or ctx ends. The
// server runs until life ends or Stop is called. Writes bypass the
// page cache where the file system allows it, so that a replica's terabytes do
// not push everything else out of memory.
func Serve(ctx, life context.Context, e Export) (*Server, error) {
	s, err := serve(ctx, life, e, "--cache=none", "--aio=io_uring")
	var exit *proc.ExitError
	if errors.As(err, &exit) && ctx.Err() == nil {
		// No O_DIRECT (tmpfs on older kernels, some network file systems) or no
		// io_uring (switched off by the administrator).
		return serve(ctx, life, e, "--cache=writeback", "--aio=threads")
	}
	return s, err
}

func serve(ctx, life context.Context, e Export, io ...string) (*Server, error) {
	argv := append([]string{NBDProgram, "--socket=" + e.Socket, "--export-name=" + e.Name,
		"--persistent", "--shared=" + strconv.Itoa(e.Clients), "--discard=unmap", "--detect-zeroes=off", "--pid-file=" + e.pidFile()}, io...)
	if e.ReadOnly {
		argv = append(argv, "--read-only")
	}
	if e.Depth {
		argv = append(argv, "--allocation-depth")
	}
	p, err := proc.Start(life, proc.Cmd{Argv: append(argv, e.image()...), Package: "qemu-utils", Env: append(cLocale(), keepBuffers()...)})
	if err != nil {
		return nil, err
	}
	s := &Server{export: e, proc: p}
	if err := s.ready(ctx); err != nil {
		s.Kill()
		return nil, err
	}
	return s, nil
}

// image is the part of the command line that says what to open.
func (e Export) image() []string {
	if !e.Raw {
		return []string{"--format=qcow2", "--", e.Image}
	}
	options := "driver=raw,"
	if e.Size > 0 {
		options += fmt.Sprintf("size=%d,", e.Size)
	}
	// In a list of options a comma is doubled.
	return []string{"--image-opts", "--", options + "file.filename=" + strings.ReplaceAll(e.Image, ",", ",,")}
}

// Done is closed when the server has ended, whoever ended it.
func (s *Server) Done() <-chan struct{} { return s.proc.Done() }

// Err is how a server ended that is done: nil if it did so well.
func (s *Server) Err() error { return Classify(s.proc.Wait()) }

// Export is what the server serves.
func (s *Server) Export() Export { return s.export }

// ready waits until the server listens, which is when it has written its pid
// file. Trying the socket instead would be worse: a client that leaves during
// the handshake can keep qemu-nbd (7.2) from ending on SIGTERM.
func (s *Server) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startLimit, fmt.Errorf("%s did not open %s in %v", NBDProgram, s.export.Image, startLimit))
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := os.Stat(s.export.pidFile()); err == nil {
			return nil
		}
		select {
		case <-s.proc.Done():
			return fmt.Errorf("serve %s: %w", s.export.Image, Classify(s.proc.Wait()))
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// keepBuffers is the environment that makes qemu-nbd reuse the memory of requests.
// Each request has a buffer of its own, and the C library would give one of that size
// back to the kernel every time, only to have a fresh one cleared page by page.
func keepBuffers() []string {
	return []string{"MALLOC_MMAP_THRESHOLD_=33554432", "MALLOC_TRIM_THRESHOLD_=134217728", "MALLOC_TOP_PAD_=16777216"}
}

func (e Export) pidFile() string { return e.Socket + ".pid" }

// stopLimit bounds how long qemu-nbd may take to write out what it holds.
const stopLimit = 60 * time.Second

// Stop ends the server, waits for it, and removes its socket. The image is
// closed and consistent when it returns nil.
func (s *Server) Stop() error { return s.end(stopLimit) }

// Kill is Stop without the time to close the image well.
func (s *Server) Kill() { _ = s.end(0) }

func (s *Server) end(grace time.Duration) error {
	err := s.proc.Stop(grace)
	for _, f := range []string{s.export.Socket, s.export.pidFile()} {
		if rerr := os.Remove(f); rerr != nil && !errors.Is(rerr, os.ErrNotExist) && err == nil {
			err = rerr
		}
	}
	if err != nil {
		return fmt.Errorf("serve %s: %w", s.export.Image, Classify(err))
	}
	return nil
}
