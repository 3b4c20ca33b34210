// Command vmsync keeps a second hypervisor ready to run libvirt machines. Its
// files hold one command each: flags in, a call, output. What the commands do
// lives in the packages below.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"vmsync/replicator"
)

// version is set by the linker.
var version = "development"

// Exit codes.
const (
	exitFailed = 1
	exitUsage  = 2
	exitBusy   = 75 // EX_TEMPFAIL of sysexits.h: another run holds the machine
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	args, err := expandHelper(os.Args)
	code := exitUsage
	if err == nil {
		code = run(ctx, args)
	} else {
		fmt.Fprintln(os.Stderr, "vmsync:", err)
	}
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string) int {
	root := rootCommand()
	addDocs(root)
	root.SetArgs(expandShortForm(args))
	return exitCode(root.ExecuteContext(ctx))
}

// rootCommand is the whole tree of commands.
func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "vmsync",
		Short: "Keep a second hypervisor ready to run your virtual machines",
		Long: `vmsync keeps a second hypervisor ready to run libvirt/KVM machines: it asks libvirt for the blocks that changed, streams
them to another host, and keeps every checkpoint there as a state to browse, restore or boot. vmsync(7) explains the words
and what can be relied on.`,
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(syncCommand(), serveCommand(), statusCommand(), sendCommand(), receiveCommand(), streamCommand(), statesCommand(), verifyCommand(), restoreCommand(), exportCommand(), mountCommand(), umountCommand(),
		pruneCommand(), discardRunCommand(), pauseCommand(), resumeCommand(), doctorCommand(), configCommand(), notifyCommand(), listenCommand(), tlsCommand(), agentCommand(), guardCommand(), hookCommand())
	addCompletions(root)
	return root
}

// survivePipes makes a write to a stdout or stderr that nobody reads any more an error
// of that write. Otherwise it would end the process before it has undone what it
// began. Processes that it starts are not affected.
func survivePipes() { signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) }

// usageError is a command line that makes no sense.
type usageError struct{ error }

// shownError has been shown to the user already.
type shownError struct{ error }

func (e shownError) Unwrap() error { return e.error }

// exitCode turns a command's error into the exit code, and shows it where
// nobody has yet.
func exitCode(err error) int {
	if err == nil {
		return 0
	}
	var shown shownError
	if !errors.As(err, &shown) {
		fmt.Fprintln(os.Stderr, "vmsync:", err)
	}
	var usage usageError
	var e *replicator.Error
	var status exitStatus
	switch {
	case errors.As(err, &status):
		return int(status)
	case errors.As(err, &usage):
		return exitUsage
	case errors.As(err, &e) && e.Kind == replicator.KindUsage:
		return exitUsage
	case errors.As(err, &e) && e.Kind == replicator.KindBusy:
		return exitBusy
	}
	return exitFailed
}
