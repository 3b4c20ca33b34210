package manpages

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// Command is a hidden command, docs DIR, that writes the pages of all commands of the tree
// that it is made part of, and then calls more, which may be nil, to write others.
func Command(more func(dir string) error) *cobra.Command {
	return &cobra.Command{
		Use:    "docs DIR",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return err
			}
			for _, c := range cmd.Root().Commands() {
				if c.Name() == "completion" { // packages have what it prints
					c.Hidden = true
				}
			}
			if err := Commands(cmd.Root(), args[0]); err != nil || more == nil {
				return err
			}
			return more(args[0])
		},
	}
}

// Commands writes a page of section 1 for each command that is not hidden to dir, which
// is there.
func Commands(cmd *cobra.Command, dir string) error {
	for _, c := range cmd.Commands() {
		if !c.IsAvailableCommand() || c.IsAdditionalHelpTopicCommand() {
			continue
		}
		if err := Commands(c, dir); err != nil {
			return err
		}
	}
	var page bytes.Buffer
	cmd.DisableAutoGenTag = true
	if err := doc.GenMan(cmd, &doc.GenManHeader{Section: "1", Source: "vmsync", Manual: "vmsync", Date: &time.Time{}}, &page); err != nil {
		return fmt.Errorf("manual page of %s: %w", cmd.CommandPath(), err)
	}
	name := strings.ReplaceAll(cmd.CommandPath(), " ", "-") + ".1"
	return os.WriteFile(filepath.Join(dir, name), tidy(page.String()), 0o644)
}

// seeAlso ends the list of pages to see that the library has made of a command's relatives.
const seeAlso = ", \\fBvmsync(7)\\fP, \\fBvmsync.yaml(5)\\fP\n"

// option is a flag and, in the next line, what it means.
var option = regexp.MustCompile(`(?m)^(?:\.PP\n)?(\\fB-.*)\n\t(.*)$`)

// tidy makes the list of options a list, and takes out of a page the date, which could only
// be that of the build, and the values of switches, which nobody gives.
func tidy(page string) []byte {
	page = strings.Replace(page, `"`+time.Time{}.Format("Jan 2006")+`"`, `""`, 1)
	for _, none := range []string{"[=false]\n", "=\"\"\n", "=[]\n"} {
		page = strings.ReplaceAll(page, none, "\n")
	}
	page = option.ReplaceAllString(page, ".TP\n$1\n$2")
	return []byte(strings.TrimSuffix(page, "\n") + seeAlso)
}
