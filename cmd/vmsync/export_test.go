package main

import (
	"strings"
	"testing"
)

func TestExportThatMakesNoSenseIsRefused(t *testing.T) {
	for line, says := range map[string]string{
		"":                                "where?",
		"--unix /s --listen 127.0.0.1:1":  "where?",
		"--unix /s --tls-certificates /p": "--listen",
		"--listen 127.0.0.1:1 --tls-client hosta":            "--tls-certificates",
		"--unix /s --keep-overlay /k":                        "--writable",
		"--unix /s --store relative":                         "absolute",
		"--unix /s --progress loud":                          "--progress",
		"--unix /s --writable --keep-overlay /k --no-such 1": "no-such",
	} {
		cmd := exportCommand()
		cmd.SilenceErrors, cmd.SilenceUsage = true, true
		cmd.SetArgs(append([]string{"vm1"}, strings.Fields(line)...))
		if err := cmd.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v", line, err)
		}
	}
}

func TestExportsPathsAreMadeAbsolute(t *testing.T) {
	t.Chdir("/usr")
	f := &exportFlags{}
	f.req.Unix, f.req.Store, f.req.Writable, f.req.Keep, f.output.progress = "s", "/store", true, "k/", "none"
	if err := f.complete("vm1@2026"); err != nil {
		t.Fatal(err)
	}
	if r := f.req; r.Unix != "/usr/s" || r.Keep != "/usr/k/" || r.TLS != "" || r.Domain != "vm1" || r.State != "2026" {
		t.Errorf("%+v", r)
	}
}
