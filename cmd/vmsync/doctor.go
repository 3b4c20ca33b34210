package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"vmsync/internal/event"
	"vmsync/internal/hosturi"
	"vmsync/internal/ui"
	"vmsync/replicator"
	"vmsync/replicator/remote"
)

// doctorFlags are the doctor command's flags.
type doctorFlags struct {
	domain, targetDomain string
	sourceURI, targetURI string
	store                string
	fix, json            bool
	access               remote.Access

	sourceAt, targetAt hosturi.Endpoint
}

// errWrong is the end of a look that found something wrong and has told of it.
var errWrong = shownError{errors.New("something is wrong")}

func doctorCommand() *cobra.Command {
	f := &doctorFlags{}
	cmd := &cobra.Command{
		Use:   "doctor DOMAIN",
		Short: "Explain what is on both ends of a replication, and what the next sync will do",
		Long: `Explain what is on both ends of a replication, what is wrong with it, and what the next sync will do or why it will
refuse. It changes nothing and waits for nobody; where one end cannot be reached it explains the other.

With --fix it does what every sync does before it begins: ends the jobs of dead runs, thaws, removes their files, and
completes what they left half done. Then it explains again.

The exit status is 1 if something is wrong, 0 if not.`,
		Example: `  vmsync doctor vm1 --source-uri qemu+ssh://root@hosta/system`,
		Args:    arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			f.domain = args[0]
			if err := f.complete(); err != nil {
				return usageError{err}
			}
			return f.run(cmd.Context())
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.sourceURI, "source-uri", "qemu:///system", "libvirt URI of the host that runs the domain")
	flags.StringVar(&f.targetURI, "target-uri", "qemu:///system", "libvirt URI of the host that keeps the replica")
	flags.StringVar(&f.targetDomain, "target-domain", "", "name of the replica (default: the domain's name)")
	flags.StringVar(&f.store, "store", defaultStore, "folder on the target that holds replicas")
	flags.BoolVar(&f.fix, "fix", false, "first end and complete what dead runs left")
	addAccessFlags(flags, &f.access)
	flags.BoolVar(&f.json, "json", false, "one JSON object per line")
	return cmd
}

func (f *doctorFlags) complete() (err error) {
	if !filepath.IsAbs(f.store) {
		return fmt.Errorf("--store %q must be an absolute path on the target", f.store)
	}
	if f.sourceAt, err = hosturi.Parse(f.sourceURI); err != nil {
		return fmt.Errorf("--source-uri: %w", err)
	}
	if f.targetAt, err = hosturi.Parse(f.targetURI); err != nil {
		return fmt.Errorf("--target-uri: %w", err)
	}
	return nil
}

func (f *doctorFlags) run(ctx context.Context) error {
	seen := f.look(ctx)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if f.fix {
		out := ui.New(ui.Options{JSON: f.json, Progress: ui.ProgressNone, Out: os.Stdout, Err: os.Stderr})
		f.mend(ctx, seen, out)
		if err := out.Close(); err != nil {
			return err
		}
		if seen = f.look(ctx); ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	d := replicator.Diagnose(seen)
	if err := f.tell(seen, d); err != nil {
		return err
	}
	if d.Wrong() {
		return errWrong
	}
	return nil
}

// look looks at both ends, at one where the other cannot be reached.
func (f *doctorFlags) look(ctx context.Context) replicator.Seen {
	seen := replicator.Seen{Domain: f.domain, TargetDomain: f.targetDomain}
	seen.SourceErr = f.withEnd(ctx, f.sourceAt, remote.RoleSource, func(s *remote.Solo) (err error) {
		seen.Source, err = s.Source().Inspect(ctx, replicator.InspectRequest{Domain: f.domain, ReadOnly: true})
		return err
	})
	if seen.TargetDomain == "" {
		seen.TargetDomain = f.domain
		if seen.Source != nil {
			seen.TargetDomain = seen.Source.Name // f.domain may be a UUID
		}
	}
	seen.TargetErr = f.withEnd(ctx, f.targetAt, remote.RoleTarget, func(s *remote.Solo) (err error) {
		seen.Target, err = s.Target().Open(ctx, replicator.OpenRequest{Store: f.store, TargetDomain: seen.TargetDomain, ReadOnly: true})
		return err
	})
	return seen
}

// withEnd calls a function with one end, connected.
func (f *doctorFlags) withEnd(ctx context.Context, at hosturi.Endpoint, role remote.Role, do func(*remote.Solo) error) (err error) {
	end, err := remote.ConnectSolo(ctx, at, role, f.access, io.Discard)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, end.Close()) }()
	return do(end)
}

// mend has both ends do what they do at the beginning of a sync. What they refuse then is
// said by the next look.
func (f *doctorFlags) mend(ctx context.Context, seen replicator.Seen, out event.Sink) {
	tell := func(where string, cleaned, warnings []string, err error) {
		for _, c := range cleaned {
			out.Emit(event.Notice{Message: "fixed on the " + where + ": " + c})
		}
		for _, w := range warnings {
			out.Emit(event.Warning{Message: w})
		}
		if err != nil {
			out.Emit(event.Warning{Message: "not fixed on the " + where + ": " + replicator.AsError(err).Text()})
		}
	}
	if seen.Source != nil && !seen.Itself() {
		view := &replicator.SourceView{}
		err := f.withEnd(ctx, f.sourceAt, remote.RoleSource, func(s *remote.Solo) error {
			v, err := s.Source().Inspect(ctx, replicator.InspectRequest{Domain: f.domain})
			if err == nil {
				view = v
			}
			return err
		})
		tell("source", view.Cleaned, view.Warnings, err)
	}
	if seen.Target != nil && seen.Target.Look != nil && seen.Target.Look.Exists {
		view := &replicator.TargetView{}
		err := f.withEnd(ctx, f.targetAt, remote.RoleTarget, func(s *remote.Solo) error {
			v, err := s.Target().Open(ctx, replicator.OpenRequest{Store: f.store, TargetDomain: seen.TargetDomain})
			if err == nil {
				view = v
			}
			return err
		})
		tell("target", view.Cleaned, view.Warnings, err)
	}
}

// tell prints a diagnosis.
func (f *doctorFlags) tell(seen replicator.Seen, d *replicator.Diagnosis) error {
	for _, part := range []struct {
		name, title string
		findings    []replicator.Finding
	}{
		{"source", "Source: " + f.domain + " on " + f.sourceAt.Name, d.Source},
		{"target", "Target: " + seen.TargetDomain + " on " + f.targetAt.Name, d.Target},
		{"next", "The next sync", d.Next},
	} {
		if !f.json {
			fmt.Println(ui.Clean(part.title))
		}
		for _, finding := range part.findings {
			if err := f.tellFinding(part.name, finding); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *doctorFlags) tellFinding(about string, finding replicator.Finding) error {
	if f.json {
		return printJSON(struct {
			About string           `json:"about"` // "source", "target" or "next"
			Level replicator.Level `json:"level"`
			Text  string           `json:"text"`
			Fix   string           `json:"fix,omitempty"`
		}{about, finding.Level, finding.Text, finding.Fix})
	}
	text := map[replicator.Level]string{replicator.LevelFine: "  ", replicator.LevelNote: "  note: ", replicator.LevelWrong: "  WRONG: "}[finding.Level]
	fmt.Println(text + ui.Clean(finding.Text))
	if finding.Fix != "" {
		fmt.Println("      " + ui.Clean(finding.Fix))
	}
	return nil
}
