package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"vmsync/internal/api"
	"vmsync/internal/config"
	"vmsync/internal/daemon"
	"vmsync/internal/history"
	"vmsync/internal/journal"
	"vmsync/internal/metrics"
	"vmsync/internal/service"
	"vmsync/internal/service/front"
)

// serveFlags are the serve command's flags.
type serveFlags struct {
	config  string
	grace   time.Duration
	verbose bool
}

func serveCommand() *cobra.Command {
	f := &serveFlags{}
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the service that keeps machines replicated as the configuration says",
		Long: `Run the service that keeps machines replicated as the configuration says. It stays in the foreground; systemd runs it
as vmsync.service. SIGHUP has it read its configuration again. SIGTERM has it end: it begins nothing any more, lets
syncs that are under way end for as long as --grace says, and then gives them up, which leaves nothing behind.

It logs to the journal, with DOMAIN, SOURCE and RUN as fields, or to stderr. vmsync status shows how everything stands.`,
		Example: `  vmsync serve --config ./vmsync.yaml`,
		Args:    arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := cmd.Context().Err(); err != nil {
				return err
			}
			// Not the command's own context: that ends with SIGHUP as well.
			ctx, stop := signal.NotifyContext(context.WithoutCancel(cmd.Context()), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return f.run(ctx)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.config, "config", config.DefaultPath, "the configuration")
	flags.DurationVar(&f.grace, "grace", 30*time.Second, "how long syncs may go on when the service is to end")
	flags.BoolVarP(&f.verbose, "verbose", "v", false, "also show the log of the agents on the hosts, on stderr")
	return cmd
}

func (f *serveFlags) run(ctx context.Context) (err error) {
	survivePipes()
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	log := journal.Logger(slog.LevelInfo)
	c, err := loadConfig([]string{f.config})
	if err != nil {
		return err
	}
	past, err := openHistory(c.History, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, past.Close()) }()
	every, err := daemon.WatchdogEvery()
	if err != nil {
		return fmt.Errorf("systemd's watchdog: %w", err)
	}
	notify := func(state string) {
		if err := daemon.Notify(state); err != nil {
			log.Warn("cannot tell systemd", "error", err)
		}
	}
	agentLog := io.Discard
	if f.verbose {
		agentLog = os.Stderr
	}
	hosts := service.NewHosts(agentLog)
	defer func() { err = errors.Join(err, hosts.Close()) }()
	var s *service.Service
	figures := metrics.New(func(ctx context.Context) (*api.Status, error) { return s.Status(ctx) })
	exporter := metrics.NewServer(figures, log)
	s = service.New(service.Options{Config: c, History: past, Ends: hosts, Path: f.config, Version: version, Log: log, Grace: f.grace,
		Load:  func() (*config.Config, error) { return config.Load(f.config) },
		Ended: figures.Ended, Listen: exporter.Listen,
		Tell:  func(line string) { notify(daemon.Status(line)) },
		Alive: func() { notify(daemon.Alive) }, AliveEvery: every})
	listener, access, err := front.Listen(c.API.Socket, c.API.Group)
	if err != nil {
		return err
	}
	if err := exporter.Listen(c.Metrics.Listen); err != nil {
		return errors.Join(err, listener.Close())
	}
	defer exporter.Close()
	log.Info("serving", "version", version, "config", f.config, "socket", c.API.Socket)
	err = serveUntil(ctx, s, hangup, notify, func(ctx context.Context) error {
		return front.Serve(ctx, listener, access, &front.Handler{Service: s, Log: log})
	})
	log.Info("ended")
	return err
}

// serveUntil runs the service, and with it its API, until ctx ends and the service has
// ended. Each hangup has it read its configuration again.
func serveUntil(ctx context.Context, s *service.Service, hangup <-chan os.Signal, notify func(string), serveAPI func(context.Context) error) error {
	serving, stopServing := context.WithCancel(context.Background())
	served, reloaded := make(chan error, 1), make(chan struct{})
	go func() { served <- serveAPI(serving) }()
	go func() {
		defer close(reloaded)
		for {
			select {
			case <-serving.Done():
				return
			case <-hangup:
				notify(daemon.Reloading())
				_ = s.Reload(serving) // it has logged what is wrong
				notify(daemon.Ready)
			}
		}
	}()
	notify(daemon.Ready)
	stopping := context.AfterFunc(ctx, func() { notify(daemon.Stopping) })
	defer stopping()
	err := s.Run(ctx)
	stopServing() // only now: those who wait for a run are told how it ended
	<-reloaded
	return errors.Join(err, <-served)
}

// openHistory opens the history, and tells what was found in it.
func openHistory(c config.History, log *slog.Logger) (*history.History, error) {
	past, killed, aside, err := history.OpenAnyway(c.Path, history.Limits{Runs: c.KeepRuns, Age: c.KeepFor})
	if errors.Is(err, history.ErrBusy) {
		return nil, fmt.Errorf("%w: the service runs already", err)
	}
	if err != nil {
		return nil, err
	}
	if aside != "" {
		log.Error("the history was damaged and is begun anew; replicas are not concerned", "old", aside)
	}
	for _, r := range killed {
		log.Warn("the service died during this run, which is tried again", "DOMAIN", r.Domain, "SOURCE", r.Source, "RUN", r.ID)
	}
	return past, nil
}
