package manpages

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/cpuguy83/go-md2man/v2/md2man"
)

// page is one that is written in Markdown.
type page struct {
	from    string // the file, in the repository
	name    string
	section string
	about   string // one line, for apropos
}

var pages = []page{
	{"docs/CONFIG.md", "vmsync.yaml", "5", "configuration of the vmsync service"},
	{"docs/vmsync.7.md", "vmsync", "7", "words, guarantees, files and exit codes of vmsync"},
}

// Pages writes the pages that are not of commands to dir. It is called in the repository's
// root.
func Pages(dir string) error { return write(".", dir) }

func write(repository, dir string) error {
	for _, p := range pages {
		text, err := os.ReadFile(filepath.Join(repository, p.from))
		if err != nil {
			return err
		}
		name := filepath.Join(dir, p.name+"."+p.section)
		if err := os.WriteFile(name, p.render(string(text)), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// render makes a manual page of a document whose first line is its title.
func (p *page) render(text string) []byte {
	head := fmt.Sprintf("%% \"%s\" \"%s\" \"\" \"vmsync\" \"vmsync\"\n# NAME\n%s \\- %s\n\n# DESCRIPTION\n", p.name, p.section, p.name, p.about)
	return md2man.Render([]byte(head + forTerminals(text)))
}
