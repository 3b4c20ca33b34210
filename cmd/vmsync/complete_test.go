package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"vmsync/internal/store"
)

// completes is what a shell is offered for the last of args.
func completes(t *testing.T, args ...string) (offers []string, directive string) {
	t.Helper()
	var out bytes.Buffer
	root := rootCommand()
	root.SetOut(&out)
	root.SetArgs(append([]string{"__completeNoDesc"}, args...))
	if err := root.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	return lines[:len(lines)-1], lines[len(lines)-1]
}

func TestCompletionOffersReplicasAndTheirStates(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"vm1", "vm 2", "vm3\x1b[31m"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name, store.ManifestName), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const noFiles = ":4"
	for _, c := range []struct {
		args, want []string
	}{
		{[]string{"prune", "--store=" + dir, "vm"}, []string{"vm 2", "vm1"}},
		{[]string{"prune", "--store=" + dir, "vm1", ""}, []string{}},
		{[]string{"states", "delete", "--store", dir, "vm1", "vm"}, []string{"vm 2"}},
		{[]string{"restore", "--store", dir, "vm1@"}, []string{}}, // its manifest cannot be read
		{[]string{"sync", "--store", dir, "v"}, []string{}},       // no service runs
		{[]string{"send", "v"}, []string{}},
	} {
		got, directive := completes(t, c.args...)
		if !slices.Equal(got, c.want) || directive != noFiles {
			t.Errorf("%q: %q, %s; want %q", c.args, got, directive, c.want)
		}
	}
}

func TestCompletionOffersValuesOfFlags(t *testing.T) {
	for flag, want := range map[string]string{
		"--compress": "auto none s2 zstd zstd:", "--transport": "auto direct ssh", "--progress": "auto plain none",
		"--target-uri": "qemu:///system qemu+ssh://", "--keep": "",
	} {
		if got, _ := completes(t, "sync", flag, ""); strings.Join(got, " ") != want {
			t.Errorf("%s: %q, want %q", flag, got, want)
		}
	}
	if got, _ := completes(t, "sync", "--source-uri", "qemu"); !slices.Contains(got, "qemu+ssh://") {
		t.Errorf("--source-uri: %q", got)
	}
}

func TestCompletionHidesWhatPeopleDoNotCall(t *testing.T) {
	got, _ := completes(t, "")
	if slices.Contains(got, "agent") || slices.Contains(got, "guard") || !slices.Contains(got, "sync") {
		t.Errorf("%q", got)
	}
}
