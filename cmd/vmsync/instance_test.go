package main

import (
	"os/exec"
	"strings"
	"testing"
)

func TestInstanceNameTakesNamesAsTheyAreAndEscaped(t *testing.T) {
	for instance, want := range map[string]string{
		`web1`:             "web1",
		`my-vm`:            "my-vm",
		`my\x2dvm`:         "my-vm",
		`a\x20b\x5cx20c`:   `a b\x20c`,
		`\xc3\xbcber`:      "über",
		`\x2d-json`:        "--json",
		`not\xzz\x4`:       `not\xzz\x4`,
		`\x24\x7bHOME\x7d`: "${HOME}",
	} {
		if got := instanceName(instance); got != want {
			t.Errorf("%s is %q, want %q", instance, got, want)
		}
	}
}

func TestInstanceNameReadsWhatSystemdEscapes(t *testing.T) {
	if _, err := exec.LookPath("systemd-escape"); err != nil {
		t.Skip("no systemd")
	}
	for _, name := range []string{"my-vm", "über uns", `back\slash`, ".hidden", "50% [off] *", "--full", "${HOME} $x", "a:b@c_d"} {
		out, err := exec.Command("systemd-escape", "--", name).Output()
		if err != nil {
			t.Fatal(err)
		}
		if got := instanceName(strings.TrimSuffix(string(out), "\n")); got != name {
			t.Errorf("%q came back from %s as %q", name, out, got)
		}
	}
}
