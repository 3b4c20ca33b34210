package manpages

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

func TestTablesBecomeLists(t *testing.T) {
	const table = `# Title

## Some part

| key | default | |
|---|---|---|
| ` + "`every`" + ` | | a run each so often. As [here](x.md) |
| ` + "`keep`" + `, ` + "`max`" + ` | as it is | this \| that |
| ` + "`uri`" + ` | needed with x | |

Text with a [link over
lines](other.md#part).

` + "```" + `
| not | a table |
|---|---|
` + "```" + `
### Below`
	const want = `
# SOME PART

**every**
:   a run each so often. As here

**keep, max**
:   this | that. Default: as it is.

**uri**
:   Needed with x.


Text with a link over
lines.

` + "```" + `
| not | a table |
|---|---|
` + "```" + `
## Below`
	if diff := cmp.Diff(want, forTerminals(table)); diff != "" {
		t.Error(diff)
	}
}

func TestCommandsHavePages(t *testing.T) {
	dir := t.TempDir()
	root := &cobra.Command{Use: "tool", Short: "Do things"}
	sub := &cobra.Command{Use: "cut FILE", Short: "Cut a file", Example: "  tool cut x", Run: func(*cobra.Command, []string) {}}
	sub.Flags().Bool("fast", false, "hurry")
	sub.Flags().String("size", "1M", "how big")
	sub.Flags().StringArray("part", nil, "only this one")
	hidden := &cobra.Command{Use: "secret", Hidden: true, Run: func(*cobra.Command, []string) {}}
	root.AddCommand(sub, hidden, Command(nil))
	root.SetArgs([]string{"docs", dir})
	if err := root.Execute(); err != nil {
		t.Fatal(err)
	}
	var names []string
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if diff := cmp.Diff([]string{"tool-cut.1", "tool.1"}, names); diff != "" {
		t.Fatal(diff)
	}
	page, err := os.ReadFile(filepath.Join(dir, "tool-cut.1"))
	if err != nil {
		t.Fatal(err)
	}
	shown := sound(t, page)
	for _, want := range []string{"tool-cut - Cut a file", "tool cut FILE", "--fast hurry", `--size="1M"`, "--part only this one", "tool(1), vmsync(7)"} {
		if !strings.Contains(shown, want) {
			t.Errorf("%q is not there:\n%s", want, shown)
		}
	}
}

func TestWrittenPagesAreSoundAndReproducible(t *testing.T) {
	first, second := t.TempDir(), t.TempDir()
	for _, dir := range []string{first, second} {
		if err := write("../..", dir); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{"vmsync.yaml.5": "min_changed_max_age", "vmsync.7": "EXIT CODES"} {
		a, errA := os.ReadFile(filepath.Join(first, name))
		b, errB := os.ReadFile(filepath.Join(second, name))
		if errA != nil || errB != nil || string(a) != string(b) {
			t.Errorf("%s is not twice the same: %v %v", name, errA, errB)
		}
		if shown := sound(t, a); !strings.Contains(shown, want) || strings.Contains(shown, "⟨") {
			t.Errorf("%s without %s, or with a link to nowhere:\n%s", name, want, shown)
		}
	}
}

// sound formats a page as man(1) does, which must not find anything wrong with it, and
// returns it with single spaces.
func sound(t *testing.T, page []byte) string {
	t.Helper()
	if _, err := exec.LookPath("groff"); err != nil {
		t.Skip("no groff")
	}
	cmd := exec.Command("groff", "-k", "-t", "-man", "-ww", "-Tutf8", "-P-cbou", "-rLL=100n")
	cmd.Stdin = strings.NewReader(string(page))
	var wrong strings.Builder
	cmd.Stderr = &wrong
	out, err := cmd.Output()
	if err != nil || wrong.Len() > 0 {
		t.Errorf("%v\n%s", err, wrong.String())
	}
	return strings.Join(strings.Fields(string(out)), " ")
}
