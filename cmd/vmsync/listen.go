package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/spf13/cobra"

	"vmsync/internal/daemon"
	"vmsync/internal/journal"
	"vmsync/internal/tlslink"
	"vmsync/replicator/gate"
	"vmsync/replicator/remote"
)

// listenFlags are the listen command's flags.
type listenFlags struct{ address, tlsDir string }

func listenCommand() *cobra.Command {
	f := &listenFlags{}
	cmd := &cobra.Command{
		Use:   "listen",
		Short: "Let hosts with a certificate pull this host's machines, without SSH",
		Long: `Let hosts with a certificate pull this host's machines, without SSH. It stays in the foreground; systemd runs it as
vmsync-nbdproxy.service when somebody connects to vmsync-nbdproxy.socket.

Both sides show a certificate of one authority, and ` + remote.DefaultTLSDir + `/` + tlslink.ClientsFile + ` on this host names the clients that
are let in, one on each line, with patterns of the machines it gets if not every one: "hostb: shop-*, db1"; nobody else is.
The files are read anew for each connection. A client can do what the source of a sync does with these machines: read their
disks and their definitions with passwords, freeze their guests, and make and delete vmsync's checkpoints. It cannot write,
nor run anything. docs/TLS.md tells how to set it up.`,
		Example: `  vmsync listen --address 10.77.0.11:10810`,
		Args:    arguments(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context()) },
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.address, "address", "", "TCP address to listen on, HOST:PORT (default: the sockets that systemd passes)")
	flags.StringVar(&f.tlsDir, "tls-dir", remote.DefaultTLSDir, "folder with ca-cert.pem, server-cert.pem, server-key.pem and clients")
	return cmd
}

func (f *listenFlags) run(ctx context.Context) (err error) {
	survivePipes()
	listeners, err := f.listeners(ctx)
	if err != nil {
		return err
	}
	log := journal.Logger(slog.LevelInfo)
	self, err := os.Executable()
	if err != nil {
		return err
	}
	agents, err := gate.New(func(a gate.Agent) []string {
		argv := []string{self, "agent", "--for-client", a.From.String(), "--stream-folder", a.StreamFolder}
		for _, pattern := range a.Machines {
			argv = append(argv, "--machine="+pattern)
		}
		return argv
	}, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, agents.Close()) }()
	server := &tlslink.Server{Dir: f.tlsDir, Handle: agents.Handle, Log: log}
	// It does not end for this: systemd would give up a socket whose service ends at each
	// connection, and the files can be put right meanwhile.
	if err := server.Check(); err != nil {
		log.Error("nobody can be let in until this is put right", "error", err)
	}
	var where []string
	for _, l := range listeners {
		where = append(where, l.Addr().String())
	}
	log.Info("listening", "version", version, "address", strings.Join(where, " "), "tls", filepath.Clean(f.tlsDir))
	tell := daemon.Notify
	if err := tell(daemon.Ready); err != nil {
		return fmt.Errorf("tell systemd: %w", err)
	}
	stopping := context.AfterFunc(ctx, func() { _ = tell(daemon.Stopping) })
	defer stopping()
	beat, err := f.beat(agents, tell)
	if err != nil {
		return err
	}
	defer beat()
	return server.Serve(ctx, listeners...)
}

// listeners are those of --address, or systemd's.
func (f *listenFlags) listeners(ctx context.Context) ([]net.Listener, error) {
	if f.address != "" {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", f.address)
		if err != nil {
			return nil, err
		}
		return []net.Listener{l}, nil
	}
	passed, err := activation.Listeners() // those that are no listeners are nil
	if err != nil {
		return nil, err
	}
	var listeners []net.Listener
	for _, l := range passed {
		if _, ok := l.(*net.TCPListener); !ok {
			return nil, errors.New("systemd passes something else than TCP sockets: the socket unit has ListenStream=[ADDRESS:]PORT lines only")
		}
		listeners = append(listeners, l)
	}
	if len(listeners) == 0 {
		return nil, usageError{errors.New("nothing to listen on: say --address, or have systemd listen: systemctl enable --now vmsync-nbdproxy.socket")}
	}
	return listeners, nil
}

// beat tells systemd how things stand and, where it watches, that the program is alive,
// until the returned function is called.
func (f *listenFlags) beat(agents *gate.Gate, tell func(string) error) (stop func(), err error) {
	every, err := daemon.WatchdogEvery()
	if err != nil {
		return nil, err
	}
	if every == 0 {
		return func() {}, nil
	}
	tick, done := time.NewTicker(every), make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer tick.Stop()
		for {
			_ = tell(daemon.Status(fmt.Sprintf("agents for clients: %d", agents.Agents())) + "\n" + daemon.Alive)
			select {
			case <-done:
				return
			case <-tick.C:
			}
		}
	}()
	return func() { close(done); <-ended }, nil
}
