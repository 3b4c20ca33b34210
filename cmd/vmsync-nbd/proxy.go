package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"vmsync/nbdproxy/offer"
	"vmsync/nbdproxy/upstream"
)

func proxyCommand() *cobra.Command {
	var c offer.Config
	cmd := &cobra.Command{
		Use:   "proxy --upstream URI [--bitmap NAME] [--name NAME] [--writable]… {--unix PATH | --listen ADDRESS [--tls-certificates FOLDER]}",
		Short: "Offer exports of NBD servers to NBD clients",
		Long: `proxy connects to NBD servers and serves their exports on, until SIGTERM or SIGINT ends it.
--bitmap, --name, --description and --writable belong to the --upstream before them, which may be given several times.
Without --writable an export is read-only, even if the server would let it be written to.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
			return runProxy(cmd.Context(), c, cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	f.Var(&upstreamFlag{&c.Exports}, "upstream", "`URI` of an export: nbd+unix:///EXPORT?socket=PATH or nbd://HOST:PORT/EXPORT")
	f.Var(&exportFlag{&c.Exports, func(x *offer.Export, v string) { x.Upstream.Bitmap = v }}, "bitmap", "`NAME` of a dirty bitmap of the export, to offer as qemu:dirty-bitmap:NAME")
	f.Var(&exportFlag{&c.Exports, func(x *offer.Export, v string) { x.Name = v }}, "name", "`NAME` under which to offer the export; its own if not given")
	f.Var(&exportFlag{&c.Exports, func(x *offer.Export, v string) { x.Description = v }}, "description", "`TEXT` about the export for people")
	writable := f.VarPF(&exportFlag{&c.Exports, func(x *offer.Export, v string) { x.Writable = v == "true" }}, "writable", "", "let clients write to the export, as far as the server does")
	writable.NoOptDefVal = "true"
	f.StringVar(&c.Unix, "unix", "", "`PATH` of a unix socket to listen on")
	f.StringVar(&c.TCP, "listen", "", "TCP `ADDRESS` to listen on, HOST:PORT; without TLS 127.0.0.1 or [::1] only")
	f.StringVar(&c.TLS, "tls-certificates", "", "`FOLDER` with ca-cert.pem, server-cert.pem and server-key.pem, for TLS on --listen")
	f.StringArrayVar(&c.Clients, "tls-client", nil, "`NAME` of a TLS client to let in, as in its certificate; all of the authority if not given")
	return cmd
}

func runProxy(ctx context.Context, c offer.Config, out io.Writer) error {
	if len(c.Exports) == 0 {
		return errors.New("nothing to offer: name an export with --upstream")
	}
	return offer.Run(ctx, c, func(addresses []string) error {
		_, err := fmt.Fprintln(out, "listening on", strings.Join(addresses, " and "))
		return err
	})
}

// upstreamFlag adds an export to a list.
type upstreamFlag struct{ list *[]offer.Export }

func (f *upstreamFlag) Set(uri string) error {
	u, err := upstream.ParseURI(uri)
	if err == nil {
		*f.list = append(*f.list, offer.Export{Name: u.Export, Upstream: u})
	}
	return err
}

func (f *upstreamFlag) String() string { return "" }
func (f *upstreamFlag) Type() string   { return "string" }

// exportFlag says more about the last export of a list.
type exportFlag struct {
	list *[]offer.Export
	set  func(*offer.Export, string)
}

func (f *exportFlag) Set(v string) error {
	n := len(*f.list)
	if n == 0 {
		return errors.New("it has to follow the --upstream that it belongs to")
	}
	f.set(&(*f.list)[n-1], v)
	return nil
}

func (f *exportFlag) String() string { return "" }
func (f *exportFlag) Type() string   { return "string" }
