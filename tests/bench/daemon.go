package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"vmsync/tests/lab"
)

// daemon is a server that runs in a host while something is measured.
type daemon struct {
	host *lab.Host
	cmd  *exec.Cmd
	log  bytes.Buffer // may be read when done has been received from
	done chan error
}

// serve starts a server in a host and waits until ready says that it takes
// connections.
func (b *bench) serve(h *lab.Host, ready func() bool, argv ...string) (*daemon, error) {
	d := &daemon{host: h, cmd: h.Command(b.ctx, argv...), done: make(chan error, 1)}
	d.cmd.Stdout, d.cmd.Stderr = &d.log, &d.log
	if err := d.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { d.done <- d.cmd.Wait() }()
	limit := time.After(time.Minute)
	for !ready() {
		select {
		case err := <-d.done:
			return nil, fmt.Errorf("%s: %s ended: %w: %s", h.Name(), argv[0], err, d.log.String())
		case <-limit:
			return nil, errors.Join(fmt.Errorf("%s: %s is not ready after a minute", h.Name(), argv[0]), d.cmd.Cancel(), <-d.done)
		case <-time.After(20 * time.Millisecond):
		}
	}
	return d, nil
}

// stop ends the server and returns the processor time it has used.
func (d *daemon) stop() (time.Duration, error) {
	err := d.host.Signal(d.cmd, syscall.SIGTERM)
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	if werr := <-d.done; werr != nil && !terminated(werr) {
		err = errors.Join(err, fmt.Errorf("%s: %w: %s", d.cmd.Args[0], werr, d.log.String()))
	}
	return processorTime(d.cmd.ProcessState), err
}

// terminated says whether a command ended of SIGTERM.
func terminated(err error) bool {
	var x *exec.ExitError
	if !errors.As(err, &x) {
		return false
	}
	s := x.Sys().(syscall.WaitStatus)
	return s.Signaled() && s.Signal() == syscall.SIGTERM
}

// qemuNBD serves an image of a host, to be written with several connections.
// The arguments say where it listens and how it treats the image.
func (b *bench) qemuNBD(h *lab.Host, image string, args ...string) (*daemon, error) {
	const pid = "/run/bench-qemu-nbd.pid"
	if err := os.Remove(h.Path(pid)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	ready := func() bool { _, err := os.Stat(h.Path(pid)); return err == nil }
	argv := append([]string{"qemu-nbd", "--pid-file=" + pid, "-x", "disk", "-f", "qcow2", "--discard=unmap", "-e", "8", "-t"}, args...)
	return b.serve(h, ready, append(argv, image)...)
}
