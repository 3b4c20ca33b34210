package fusefs

import (
	"bufio"
	"fmt"
	"os"
	"strings"
)

// mounted is what the kernel says about a mount.
type mounted struct {
	kind   string // "fuse.vmsync"
	source string
}

func (m *mounted) ours() bool { return m != nil && m.kind == "fuse."+typeName }

// mountedAt returns the topmost mount at a path, nil where nothing is mounted there. The
// path must be absolute and have no symbolic links in it.
func mountedAt(path string) (*mounted, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var top *mounted
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		// proc_pid_mountinfo(5): ID, parent, device, root, mount point, options, any number of
		// optional fields, "-", type, source, options.
		before, after, found := strings.Cut(lines.Text(), " - ")
		at, rest := strings.Fields(before), strings.Fields(after)
		if !found || len(at) < 5 || len(rest) < 2 {
			return nil, fmt.Errorf("/proc/self/mountinfo: %q makes no sense", lines.Text())
		}
		if unescape(at[4]) == path {
			top = &mounted{kind: rest[0], source: unescape(rest[1])}
		}
	}
	return top, lines.Err()
}

// unescape undoes how the kernel writes blanks, tabs, line feeds and backslashes.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}
