package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"vmsync/internal/config"
	"vmsync/internal/notify"
	"vmsync/internal/ui"
)

func notifyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "notify",
		Short: "Try out the notifications of the service's configuration",
		Args:  arguments(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(notifyTestCommand())
	return cmd
}

func notifyTestCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "test [NAME]...",
		Short: "Send a test message to a destination of the configuration, or to all",
		Long: `Send a test message, now and once, to those destinations of the configuration's notifications, or to all of them. It
sends by itself: the service need not run, and if it does, it may not have read the file yet. Commands get the event
test; they run with the rights of whoever calls this, the service's with those of its unit.

The exit status is 1 if one of them did not take it.`,
		Example: `  vmsync notify test
  vmsync notify test mail --config ./vmsync.yaml`,
		Args: arguments(cobra.ArbitraryArgs),
		RunE: func(cmd *cobra.Command, names []string) error {
			c, err := loadConfig([]string{file})
			if err != nil {
				return err
			}
			if names, err = destinations(c, file, names); err != nil {
				return err
			}
			return testDestinations(cmd.Context(), c, names)
		},
	}
	cmd.Flags().StringVar(&file, "config", config.DefaultPath, "the configuration")
	return cmd
}

// destinations are the names that a command line means.
func destinations(c *config.Config, file string, names []string) ([]string, error) {
	known := slices.Sorted(maps.Keys(c.Notifications))
	if len(known) == 0 {
		return nil, fmt.Errorf("%s has no notifications: add some, see docs/CONFIG.md", file)
	}
	for _, name := range names {
		if !slices.Contains(known, name) {
			return nil, usageError{fmt.Errorf("%s has no notification %s: known are %s", file, name, strings.Join(known, ", "))}
		}
	}
	if len(names) == 0 {
		return known, nil
	}
	return names, nil
}

// testDestinations sends each of them a message, and tells what came of it.
func testDestinations(ctx context.Context, c *config.Config, names []string) error {
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	sender, failed := notify.Sender{Host: host, Version: version}, 0
	for _, name := range names {
		news := notify.News{ID: notify.NewID(), Event: notify.Test, Time: time.Now(), Message: "this is a test of the notification " + name,
			Hint: "nothing: it has arrived"}
		err := sender.Send(ctx, name, c.Notifications[name], []notify.News{news})
		if err == nil {
			fmt.Printf("%s: sent\n", name)
			continue
		}
		failed++
		fmt.Fprintf(os.Stderr, "%s: %s\n", name, ui.Clean(err.Error()))
	}
	if failed > 0 {
		return shownError{errors.New("a notification failed")}
	}
	return nil
}
