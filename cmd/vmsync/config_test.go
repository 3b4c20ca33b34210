package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestConfigCommands shows what each says, where, and how it ends.
func TestConfigCommands(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for name, text := range map[string]string{
		"good.yaml": "version: 1\nsources: {a: 'qemu+ssh://h/system', b: 'qemu:///system'}\nmachines: [{name: m, source: a, every: 5m}, {name: 'w*', every: 1h}]\n",
		"bad.yaml":  "version: 1\nsources: {a: 'qemu+ssh://h/system'}\nmachines: [{name: m, every: 5}]\nextra: 1\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		args        string
		code        int
		out, errors string // parts of
	}{
		{"config check good.yaml", 0, "good.yaml is sound: sources 2, machines by name 1, patterns 1\n", ""},
		{"config check bad.yaml", exitFailed, "", "bad.yaml:3:29: every: \"5\" is not a length of time"},
		{"config check bad.yaml", exitFailed, "", "\nbad.yaml:4:1: unknown key \"extra\""},
		{"config check none.yaml", exitFailed, "", "vmsync: open none.yaml: no such file or directory: vmsync config example shows how to begin"},
		{"config check good.yaml bad.yaml", exitUsage, "", "accepts at most 1"},
		{"config chekc", exitUsage, "", "unknown command"},
		{"config", 0, "Available Commands", ""},
		{"config show good.yaml", 0, "- name: w*\n", ""},
		{"config show good.yaml --json", 0, `{"version":1,`, ""},
		{"config show bad.yaml", exitFailed, "", "bad.yaml:3:29"},
		{"config show good.yaml --machine m", 0, "# m on a, from m (line 3)\nname: m\nsource: [a]\nevery: 5m\nmax_age: 10m\n", ""},
		{"config show good.yaml --machine m --json", 0, `"from":[{"name":"m","line":3}],"every":"5m"`, ""},
		{"config show good.yaml --machine m --source b", exitFailed, "", "m on b is not replicated"},
		{"config show good.yaml --machine x", exitFailed, "", "x is not replicated"},
		{"config show good.yaml --machine w1", exitUsage, "", "w1 would be replicated from several sources: say which one, with --source: a, b"},
		{"config show good.yaml --machine w1 --source c", exitUsage, "", "there is no source c: known are a, b"},
		{"config show good.yaml --source a", exitUsage, "", "--source needs --machine"},
		{"config example", 0, "# The configuration of the vmsync service", ""},
		{"config example x", exitUsage, "", "unknown command"},
	} {
		code, out, errors := runHere(t, strings.Fields(c.args))
		if code != c.code || !strings.Contains(out, c.out) || !strings.Contains(errors, c.errors) || (c.errors == "") != (errors == "") {
			t.Errorf("%s: code %d, out %q, errors %q", c.args, code, out, errors)
		}
	}
}

// runHere runs a command line with its output in files.
func runHere(t *testing.T, args []string) (code int, out, errors string) {
	t.Helper()
	stdout, stderr := os.Stdout, os.Stderr
	defer func() { os.Stdout, os.Stderr = stdout, stderr }()
	files := make([]*os.File, 2)
	for i := range files {
		f, err := os.CreateTemp(t.TempDir(), "")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		files[i] = f
	}
	os.Stdout, os.Stderr = files[0], files[1]
	code = run(t.Context(), args)
	texts := make([]string, 2)
	for i, f := range files {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(f)
		if err != nil {
			t.Fatal(err)
		}
		texts[i] = string(text)
	}
	return code, texts[0], texts[1]
}
