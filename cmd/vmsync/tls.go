package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"vmsync/internal/pki"
	"vmsync/internal/units"
	"vmsync/replicator/remote"
)

// defaultAuthority is the folder of the authority.
const defaultAuthority = "/etc/vmsync/ca"

func tlsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "tls",
		Short: "Make the certificates with which hosts pull machines without SSH",
		Long: `Make the certificates with which hosts pull machines without SSH: an authority of your own, on a host of your choice,
and by it one certificate for each source (--server) and each target (--client). Certificates of an authority that you
have already do as well. docs/TLS.md shows all of it.`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(tlsCACommand(), tlsIssueCommand(), tlsShowCommand())
	return cmd
}

func tlsCACommand() *cobra.Command {
	var dir, name string
	cmd := &cobra.Command{
		Use:   "ca",
		Short: "Make an authority",
		Args:  arguments(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			if err := pki.NewAuthority(dir, name); err != nil {
				return err
			}
			fmt.Printf("%s: an authority, valid for ten years; who has its key can be anybody to your hosts\n", dir)
			return nil
		},
	}
	cmd.Flags().StringVar(&dir, "dir", defaultAuthority, "folder of the authority")
	cmd.Flags().StringVar(&name, "name", "vmsync", "its name in certificates")
	return cmd
}

func tlsIssueCommand() *cobra.Command {
	var dir, to, lifetime string
	var server, client bool
	leaf := pki.Leaf{}
	cmd := &cobra.Command{
		Use:   "issue NAME {--server | --client}",
		Short: "Issue a certificate, with a new key, for a source (--server), a target (--client) or both",
		Example: `  vmsync tls issue hosta --server --address hosta.example.org --address 10.77.0.11
  vmsync tls issue hostb --client`,
		Args: arguments(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, args []string) (err error) {
			leaf.Name = args[0]
			switch leaf.Lifetime, err = units.ParseDuration(lifetime); {
			case err != nil:
				return usageError{fmt.Errorf("--valid-for: %w", err)}
			case !server && !client:
				return usageError{errors.New("what for? --server for a host whose machines are pulled, --client for one that pulls")}
			case !server && len(leaf.Addresses) > 0:
				return usageError{errors.New("--address is for --server: nobody connects to a client")}
			case to == "" && (leaf.Name != filepath.Base(leaf.Name) || strings.HasPrefix(leaf.Name, ".")):
				return usageError{fmt.Errorf("%q is no name for a folder: say --to", leaf.Name)}
			case to == "":
				to = filepath.Join(dir, leaf.Name)
			}
			for _, leaf.Server = range kinds(server, client) {
				if err := pki.Issue(dir, leaf, to); err != nil {
					return err
				}
			}
			fmt.Printf("%s: copy what is in it to %s of %s\n", to, remote.DefaultTLSDir, leaf.Name)
			return showCertificates(to)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.BoolVar(&server, "server", false, "for a host whose machines are pulled")
	flags.BoolVar(&client, "client", false, "for a host that pulls")
	flags.StringArrayVar(&leaf.Addresses, "address", nil, "one more host name or IP address of a server (repeatable)")
	flags.StringVar(&lifetime, "valid-for", "825d", "how long")
	flags.StringVar(&dir, "dir", defaultAuthority, "folder of the authority")
	flags.StringVar(&to, "to", "", "folder to put it into (default: NAME in the authority's)")
	return cmd
}

// kinds are the certificates to issue: of a server or not.
func kinds(server, client bool) (all []bool) {
	if server {
		all = append(all, true)
	}
	if client {
		all = append(all, false)
	}
	return all
}

func tlsShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show [DIR]",
		Short: "Show the certificates in a folder; the exit status is 1 if one is not valid now",
		Args:  arguments(cobra.MaximumNArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			return showCertificates(append(args, remote.DefaultTLSDir)[0])
		},
	}
}

func showCertificates(dir string) error {
	all, err := pki.Look(dir)
	if err != nil {
		return err
	}
	now := time.Now()
	var invalid error
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "file\tname\tauthority\tvalid until\taddresses")
	for _, h := range all {
		c := h.Certificate
		until := c.NotAfter.UTC().Format(time.DateOnly)
		if now.After(c.NotAfter) || now.Before(c.NotBefore) {
			until += " (not valid now)"
			invalid = fmt.Errorf("%s is not valid now", filepath.Join(dir, h.File))
		}
		addresses := c.DNSNames
		for _, ip := range c.IPAddresses {
			addresses = append(addresses, ip.String())
		}
		fmt.Fprintf(w, "%s\t%q\t%q\t%s\t%s\n", h.File, c.Subject.CommonName, c.Issuer.CommonName, until, strings.Join(addresses, " "))
	}
	return errors.Join(w.Flush(), invalid)
}
