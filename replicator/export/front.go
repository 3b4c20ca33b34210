package export

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"vmsync/internal/proc"
	"vmsync/replicator"
)

// front is the running vmsync-nbd that clients connect to.
type front struct {
	process *proc.Process
	address string // that it listens on: a path, or host:port with the port it got
}

// frontGrace is how long it may take to say goodbye to its clients.
const frontGrace = 5 * time.Second

// arguments are the front's: each disk under its own name, the first as the default export
// as well.
func (e *export) arguments() []string {
	argv := []string{e.program, "proxy"}
	for _, d := range e.disks {
		about := "disk " + d.Name + " of " + e.req.Domain + " at " + e.pin.State.ID
		argv = append(argv, "--upstream="+unixURI(d.server.Export().Socket, d.Name), "--name="+d.Name, "--description="+about)
		if e.req.Writable {
			argv = append(argv, "--writable")
		}
	}
	if e.req.Unix != "" {
		return append(argv, "--unix="+e.req.Unix)
	}
	argv = append(argv, "--listen="+e.req.TCP)
	if e.req.TLS != "" {
		argv = append(argv, "--tls-certificates="+e.req.TLS)
	}
	for _, c := range e.req.Clients {
		argv = append(argv, "--tls-client="+c)
	}
	return argv
}

// open starts the front and returns when it listens.
func (e *export) open(ctx context.Context) error {
	p, err := proc.Start(context.WithoutCancel(ctx), proc.Cmd{Argv: e.arguments(), Package: "vmsync", PipeStdout: true, Stderr: e.req.Log, Grace: frontGrace})
	if err != nil {
		return e.fail(replicator.KindOther, "", "", err)
	}
	e.front = &front{process: p}
	said := make(chan string, 1)
	go func() {
		defer p.Stdout.Close()
		line, _ := bufio.NewReader(p.Stdout).ReadString('\n')
		said <- line
	}()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case line := <-said:
		address, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "listening on ")
		if ok {
			e.front.address = address
			return nil
		}
	}
	if lost := e.lost(); lost != nil {
		return lost
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	hint := "name another address; docs/NBD.md tells who may connect where"
	return e.fail(replicator.KindListen, "", hint, complaint(p.Wait()))
}

// complaint is what vmsync-nbd said of why it did not start.
func complaint(err error) error {
	exit, ok := errors.AsType[*proc.ExitError](err)
	if !ok || exit.Signal != 0 {
		return errors.Join(errors.New("vmsync-nbd did not listen"), err)
	}
	if i := strings.LastIndex(exit.Stderr, "Error: "); i >= 0 {
		return errors.New(exit.Stderr[i+len("Error: "):])
	}
	return err
}

// stop ends the front, and removes the socket of one that was killed.
func (f *front) stop() {
	exit, ok := errors.AsType[*proc.ExitError](f.process.Stop(frontGrace)) // how it ended by itself has been told
	if !ok || exit.Signal == 0 || f.address == "" || !filepath.IsAbs(f.address) {
		return
	}
	c, err := net.DialTimeout("unix", f.address, time.Second)
	if err == nil {
		_ = c.Close() // somebody else's by now
	} else if errors.Is(err, syscall.ECONNREFUSED) {
		_ = os.Remove(f.address)
	}
}

// watch returns nil when ctx has ended, or an error when a program has.
func (e *export) watch(ctx context.Context) error {
	ended := make(chan struct{}, 1+len(e.disks))
	over, cancel := context.WithCancel(ctx)
	defer cancel()
	await := func(done <-chan struct{}) {
		select {
		case <-done:
			ended <- struct{}{}
		case <-over.Done():
		}
	}
	go await(e.front.process.Done())
	for _, d := range e.disks {
		go await(d.server.Done())
	}
	select {
	case <-ctx.Done():
		return nil
	case <-ended:
	}
	// Who stops a service may signal all its processes, and a child be the first to go.
	select {
	case <-ctx.Done():
		return nil
	case <-time.After(lostSoon):
	}
	if err := e.lost(); err != nil {
		return err
	}
	var names []string
	for _, d := range e.disks {
		names = append(names, d.Name)
	}
	err := fmt.Errorf("vmsync-nbd, which serves %s to clients, has ended: %w", strings.Join(names, " and "), orQuietly(e.front.process.Wait()))
	disk := ""
	if len(names) == 1 {
		disk = names[0]
	}
	return e.fail(replicator.KindTarget, disk, "export it again", err)
}

// lostSoon is how long to wait, when a program has ended, for the news that another one has
// too, and was the cause: a server's clients may have it before its parent.
const lostSoon = 500 * time.Millisecond

// lost tells of a disk whose server has ended by itself, if any.
func (e *export) lost() error {
	for _, d := range e.disks {
		select {
		case <-d.server.Done():
			return e.fail(replicator.KindTarget, d.Name, "export it again", fmt.Errorf("qemu-nbd, which serves it, has ended: %w", orQuietly(d.server.Err())))
		default:
		}
	}
	return nil
}

// orQuietly is an error for a program that ended without one.
func orQuietly(err error) error {
	if err == nil {
		return errors.New("somebody stopped it")
	}
	return err
}
