package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"vmsync/internal/api"
	"vmsync/internal/config"
	"vmsync/internal/event"
	"vmsync/internal/ui"
	"vmsync/replicator"
)

// theService is a client of the service of this host, where its configuration says that
// it is; who may not read that tries the usual place.
func theService() *api.Client {
	if c, err := config.Load(config.DefaultPath); err == nil {
		return api.NewClient(c.API.Socket)
	}
	return api.NewClient(api.DefaultSocket)
}

// served finds out whether the running service has a machine. Where the command line says
// where the machine or its replica is, nobody asks.
func served(cmd *cobra.Command, name string, where ...string) *api.Client {
	if slices.ContainsFunc(where, cmd.Flags().Changed) {
		return nil
	}
	client := theService()
	ctx, cancel := context.WithTimeout(cmd.Context(), 10*time.Second)
	defer cancel()
	_, err := client.Machine(ctx, name)
	if e, refused := errors.AsType[*api.Error](err); err == nil || refused && e.Kind == api.KindAmbiguous {
		return client
	}
	return nil
}

// notForTheService is the error of a command line that asks the service for what its
// configuration decides; nil if there is nothing of the kind.
func notForTheService(cmd *cobra.Command, name string, fine ...string) error {
	var others []string
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if !slices.Contains(fine, f.Name) {
			others = append(others, "--"+f.Name)
		}
	})
	if len(others) == 0 {
		return nil
	}
	return usageError{fmt.Errorf("%s is replicated by the service, as its configuration says: leave out %s, or say --source-uri to go past the service",
		name, strings.Join(others, " and "))}
}

// askForSync has the service sync a machine and shows how that goes.
func askForSync(ctx context.Context, client *api.Client, name string, req api.SyncRequest, out ui.Output) error {
	end := &lastError{Output: out}
	err := client.Sync(ctx, name, req, end)
	switch {
	case err != nil && ctx.Err() != nil:
		out.Emit(event.Notice{Message: "no longer waiting; a run that has begun goes on in the service: vmsync status " + name})
		err = shownError{err}
	case err != nil:
		out.Emit(serviceError(err, name))
		err = shownError{err}
	case end.err != nil:
		err = shownError{end.err}
	}
	return errors.Join(err, out.Close())
}

// serviceError tells of what the service has refused.
func serviceError(err error, name string) event.Error {
	if e, ok := errors.AsType[*api.Error](err); ok {
		return event.Error{Kind: e.Kind, Message: e.Message, Domain: name, Hint: e.Hint}
	}
	return errorEvent(err, name)
}

// lastError keeps the error with which a run ended, for the exit status.
type lastError struct {
	ui.Output
	err error
}

func (l *lastError) Emit(e event.Event) {
	if e, failed := e.(event.Error); failed {
		l.err = &replicator.Error{Kind: e.Kind, Domain: e.Domain, Disk: e.Disk, Hint: e.Hint, Err: errors.New(e.Message)}
	}
	l.Output.Emit(e)
}
