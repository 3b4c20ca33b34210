package manpages

import (
	"regexp"
	"strings"
)

var (
	// link is a link to another file of the repository, which whoever reads a manual page
	// does not have.
	link = regexp.MustCompile(`\[([^\]]+)\]\([^):]+\)`)
	// delimiter is the line below a table's head.
	delimiter = regexp.MustCompile(`^\|(\s*:?-+:?\s*\|)+$`)
	// heading is one of a part.
	heading = regexp.MustCompile(`^## (.*)$`)
)

// forTerminals makes of a Markdown document for the web one that reads well as a manual
// page: without its title, with the names of linked files instead of the links, the
// headings of parts in capitals, and lists of terms instead of tables, whose cells have
// whole sentences.
func forTerminals(text string) string {
	lines := strings.Split(link.ReplaceAllString(text, "$1"), "\n")
	if strings.HasPrefix(lines[0], "# ") {
		lines = lines[1:]
	}
	var out []string
	code := false
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		if strings.HasPrefix(line, "```") {
			code = !code
		}
		if code || strings.HasPrefix(line, "    ") {
			out = append(out, line)
			continue
		}
		if strings.HasPrefix(line, "|") && i+1 < len(lines) && delimiter.MatchString(lines[i+1]) {
			head := cells(line)
			for i += 2; i < len(lines) && strings.HasPrefix(lines[i], "|"); i++ {
				out = append(out, term(head, cells(lines[i]))...)
			}
			i--
			continue
		}
		if h := heading.FindStringSubmatch(line); h != nil {
			line = "# " + strings.ToUpper(h[1])
		} else if strings.HasPrefix(line, "##") {
			line = line[1:]
		}
		out = append(out, line)
	}
	return strings.Join(out, "\n")
}

// cells are those of a row of a table; a | that is part of one is written \|.
func cells(row string) []string {
	const bar = "\x00"
	row = strings.ReplaceAll(strings.Trim(strings.TrimSpace(row), "|"), `\|`, bar)
	all := strings.Split(row, "|")
	for i, c := range all {
		all[i] = strings.ReplaceAll(strings.TrimSpace(c), bar, "|")
	}
	return all
}

// term is one row as an entry of a list: the first cell is the term, the last one what is
// said of it, and those between follow with the heads of their columns in front. What is
// needed is that, and no default.
func term(head, row []string) []string {
	said := row[len(row)-1]
	for i := 1; i < len(row)-1 && i < len(head); i++ {
		switch {
		case row[i] == "":
		case strings.HasPrefix(row[i], "needed"):
			said = sentence(said) + "N" + row[i][1:] + "."
		default:
			said = sentence(said) + strings.ToUpper(head[i][:1]) + head[i][1:] + ": " + row[i] + "."
		}
	}
	return []string{"**" + strings.ReplaceAll(row[0], "`", "") + "**", ":   " + said, ""}
}

// sentence ends what is said so that another one can follow.
func sentence(said string) string {
	if said == "" {
		return ""
	}
	return strings.TrimSuffix(said, ".") + ". "
}
