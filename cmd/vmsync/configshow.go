package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v4"

	"vmsync/internal/config"
)

// configShow is the command config show.
type configShow struct {
	machine, source string
	json            bool
}

func configShowCommand() *cobra.Command {
	f := &configShow{}
	cmd := &cobra.Command{
		Use:   "show [FILE]",
		Short: "Show what the configuration comes to, with all defaults filled in",
		Long: `Show what the configuration comes to, by default ` + config.DefaultPath + `, with all defaults
filled in and each entry of machines with all that holds for it. With --machine, show what
holds for one machine, and which parts of the file say so. Of a web address only the host
is shown.`,
		Example: `  vmsync config show
  vmsync config show --machine web-1 --source hosta
  vmsync config show ./vmsync.yaml --json`,
		Args: arguments(cobra.MaximumNArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			if f.source != "" && f.machine == "" {
				return usageError{fmt.Errorf("--source needs --machine")}
			}
			c, err := loadConfig(args)
			if err != nil {
				return err
			}
			if f.machine == "" {
				return f.print(c.View())
			}
			return f.showMachine(c)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.machine, "machine", "", "show what holds for this machine")
	flags.StringVar(&f.source, "source", "", "as it is on this source (default: the only one on which it is replicated)")
	flags.BoolVar(&f.json, "json", false, "one JSON object")
	return cmd
}

// showMachine shows the policy of one machine.
func (f *configShow) showMachine(c *config.Config) error {
	if f.source != "" {
		if _, known := c.Source(f.source); !known {
			return usageError{fmt.Errorf("there is no source %s: known are %s", f.source, sourceNames(c))}
		}
	}
	var found []config.Policy
	var on []string
	for _, s := range c.Sources {
		if p, ok := c.Resolve(s.Name, f.machine); ok && (f.source == "" || f.source == s.Name) {
			found, on = append(found, p), append(on, s.Name)
		}
	}
	switch {
	case len(found) == 0 && f.source != "":
		return fmt.Errorf("%s on %s is not replicated: no entry of machines takes it in, or exclude leaves it out", f.machine, f.source)
	case len(found) == 0:
		return fmt.Errorf("%s is not replicated: no entry of machines takes it in, or exclude leaves it out", f.machine)
	case len(found) > 1:
		return usageError{fmt.Errorf("%s would be replicated from several sources: say which one, with --source: %s", f.machine, strings.Join(on, ", "))}
	}
	view := found[0].View()
	if !f.json {
		var from []string
		for _, l := range view.From {
			from = append(from, fmt.Sprintf("%s (line %d)", l.Name, l.Line))
		}
		fmt.Printf("# %s on %s, from %s\n", found[0].Domain, found[0].Source, strings.Join(from, ", "))
	}
	return f.print(view)
}

func sourceNames(c *config.Config) string {
	names := make([]string, len(c.Sources))
	for i, s := range c.Sources {
		names[i] = s.Name
	}
	return strings.Join(names, ", ")
}

// print prints a view as YAML or JSON.
func (f *configShow) print(view any) error {
	if f.json {
		return printJSON(view)
	}
	out, err := yaml.Dump(view, yaml.WithIndent(2))
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(out)
	return err
}
