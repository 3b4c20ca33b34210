// Command vmsync-nbd is vmsync's data plane: it reads NBD exports into a stream,
// applies a stream to NBD servers, makes block indexes of exports, or serves exports on
// to NBD clients. It is started by vmsync's agent, the last also by hand, and knows no
// libvirt, no SSH and no store; nbdproxy/spec says how to talk to it.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// version is set when a release is linked.
var version = "development"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	root := &cobra.Command{
		Use:     "vmsync-nbd",
		Short:   "The data plane of vmsync",
		Long:    "vmsync-nbd moves disk data for vmsync, which starts it. By hand only proxy is of use.",
		Version: version,
		// What goes wrong is an event and a line of the log.
		SilenceUsage: true,
	}
	root.AddCommand(serveCommand(), applyCommand(), hashCommand(), proxyCommand(), dumpCommand(), verifyCommand())
	addDocs(root)
	err := root.ExecuteContext(ctx)
	stop()
	if err != nil {
		os.Exit(1)
	}
}
