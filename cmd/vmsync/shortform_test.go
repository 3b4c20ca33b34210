package main

import (
	"slices"
	"strings"
	"testing"
)

func TestShortForm(t *testing.T) {
	for in, want := range map[string]string{
		"":                            "",
		"--help":                      "--help",
		"-h":                          "-h",
		"--version":                   "--version",
		"sync vm1 --source-uri u":     "sync vm1 --source-uri u",
		"-source-domain vm1 -v":       "sync --source-domain vm1 -v",
		"-source-uri=u -target-uri t": "sync --source-uri=u --target-uri t",
		"--source-domain vm1 -json":   "sync --source-domain vm1 --json",
		"-source-domain vm1 -- -x":    "sync --source-domain vm1 -- -x",
	} {
		if got := strings.Join(expandShortForm(strings.Fields(in)), " "); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
	if got := expandShortForm([]string{"-source-domain", "two words"}); !slices.Equal(got, []string{"sync", "--source-domain", "two words"}) {
		t.Errorf("%q", got)
	}
}
