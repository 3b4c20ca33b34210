package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"vmsync/internal/api"
	"vmsync/internal/history"
	"vmsync/internal/ui"
)

// errBroken is the end of a look that found a replica older than promised.
var errBroken = shownError{errors.New("a replica is older than promised")}

func statusCommand() *cobra.Command {
	var json bool
	cmd := &cobra.Command{
		Use:   "status [NAME]",
		Short: "Show how the machines stand that the service replicates",
		Long: `Show how the machines stand that the service of this host replicates, or one of them: NAME, or SOURCE/NAME where
several sources have one.

The exit status is 1 if a replica is older than promised, or there is none yet, and 0 if not.`,
		Example: `  vmsync status
  vmsync status vm1 --json`,
		Args: arguments(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			st, err := look(cmd.Context(), args)
			if err != nil {
				return err
			}
			if json {
				for _, m := range st.Machines {
					if err := printJSON(m); err != nil {
						return err
					}
				}
			} else if err := tellStatus(cmd.Context(), st, len(args) == 1); err != nil {
				return err
			}
			for _, m := range st.Machines {
				if m.Broken() {
					return errBroken
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&json, "json", false, "one JSON object per machine and line")
	return cmd
}

// look asks the service for all machines, or one.
func look(ctx context.Context, args []string) (*api.Status, error) {
	client := theService()
	if len(args) == 0 {
		return client.Status(ctx)
	}
	m, err := client.Machine(ctx, args[0])
	if err != nil {
		return nil, err
	}
	return &api.Status{Machines: []api.Machine{*m}}, nil
}

// lastRuns is how many runs of a machine are shown.
const lastRuns = 10

// tellStatus shows machines as a table, and of a single one what else there is to know.
func tellStatus(ctx context.Context, st *api.Status, single bool) error {
	if err := ui.MachineTable(os.Stdout, rows(st.Machines, time.Now())); err != nil || !single {
		return err
	}
	m := &st.Machines[0]
	fmt.Printf("\n%s as %s in %s, %s\n", ui.Clean(m.Source+"/"+m.Name), ui.Clean(m.TargetDomain), ui.Clean(m.Store), m.Schedule)
	if m.Group != "" {
		fmt.Printf("in group %s: synced together with its other machines\n", ui.Clean(m.Group))
	}
	if m.Error != nil {
		fmt.Printf("error: %s\n  %s\n", ui.Clean(m.Error.Message), ui.Clean(m.Error.Hint))
	}
	runs, err := theService().Runs(ctx, m.Source+"/"+m.Name, lastRuns)
	if err != nil || len(runs) == 0 {
		return err
	}
	fmt.Println()
	var lines [][]string
	for _, r := range runs {
		what := r.State
		if r.Error != nil {
			what = r.Error.Message
		}
		lines = append(lines, []string{r.ID, r.Began.UTC().Format(time.DateTime + "Z"), string(r.Outcome), r.Kind, ui.Duration(r.Duration(time.Now())),
			ui.Bytes(r.Changed), ui.Bytes(r.Sent), what})
	}
	return ui.Table(os.Stdout, []ui.Column{{Title: "run"}, {Title: "began"}, {Title: "outcome"}, {Title: "kind"}, {Title: "took", Right: true},
		{Title: "changed", Right: true}, {Title: "sent", Right: true}, {}}, lines)
}

// rows are machines as the table shows them.
func rows(machines []api.Machine, now time.Time) []ui.Machine {
	var all []ui.Machine
	for _, m := range machines {
		row := ui.Machine{Name: m.Name, Source: m.Source, Role: m.Role, Age: -1, RPO: seconds(m.RPO), Changed: -1, Sent: -1, States: -1,
			Health: string(m.Health), Doing: string(m.Doing), Group: m.Group}
		if m.Age != nil {
			row.Age = seconds(*m.Age)
		}
		if m.States != nil {
			row.States = *m.States
		}
		if m.Last != nil {
			row.Last, row.LastAgo = string(m.Last.Outcome), now.Sub(m.Last.Ended)
			if m.Last.Outcome == history.Succeeded || m.Last.Outcome == history.Unchanged {
				row.Changed, row.Sent = m.Last.Changed, m.Last.Sent
			}
		}
		row.Remark = short(remark(&m, now))
		all = append(all, row)
	}
	return all
}

// short keeps a table readable; vmsync status NAME has all of it.
func short(text string) string {
	const most = 60
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return text
}

// remark is what a person should know of a machine besides.
func remark(m *api.Machine, now time.Time) string {
	switch {
	case m.Running != nil && m.Running.Total > 0:
		return fmt.Sprintf("%s %d%%", m.Running.Phase, m.Running.Done*100/m.Running.Total)
	case m.Running != nil:
		return m.Running.Phase
	case m.Paused != nil:
		return m.Paused.Reason
	case m.Error != nil && m.Doing == api.Retrying:
		return fmt.Sprintf("again in %s: %s", m.Next.Sub(now).Round(time.Second), m.Error.Message)
	case m.Error != nil:
		return m.Error.Message
	}
	return ""
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
