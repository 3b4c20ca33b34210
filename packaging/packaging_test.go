// Package packaging has what packages are made with. Its tests are of the parts that run
// anywhere; tests/packages installs what comes of it.
package packaging

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

func version(t *testing.T, described string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "./version", described, "741").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

func TestVersionIsValidForDpkgAndRpm(t *testing.T) {
	valid := regexp.MustCompile(`^[0-9][0-9A-Za-z.+~]*$`)
	for described, want := range map[string]string{
		"v1.2.0":                         "1.2.0",
		"1.2":                            "1.2",
		"v1.2.0-rc1":                     "1.2.0~rc1",
		"v1.2.0-3-gabc12de":              "1.2.0+3.gabc12de",
		"v1.2.0-rc1-3-gabc12de-dirty":    "1.2.0~rc1+3.gabc12de+dirty",
		"v1.2.0-dirty":                   "1.2.0+dirty",
		"abc12de":                        "0~741.gabc12de",
		"1234567-dirty":                  "0~741.g1234567+dirty",
		"unknown":                        "0~741",
		"v1.2.0-a b'$(touch /tmp/x)\"_c": "1.2.0~a.b...touch..tmp.x...c",
	} {
		if got := version(t, described); got != want || !valid.MatchString(got) {
			t.Errorf("%s is %s, want %s", described, got, want)
		}
	}
}

func TestLaterVersionsSortLater(t *testing.T) {
	if _, err := exec.LookPath("dpkg"); err != nil {
		t.Skip("no dpkg")
	}
	ordered := []string{"abc12de", "v1.2.0-rc1", "v1.2.0-rc1-3-gabc12de", "v1.2.0-rc2", "v1.2.0", "v1.2.0-9-gfff12de", "v1.2.0-10-g0ab12de", "v1.2.1-rc1", "v1.2.1", "v1.10.0"}
	for i := range len(ordered) - 1 {
		a, b := version(t, ordered[i]), version(t, ordered[i+1])
		if err := exec.CommandContext(t.Context(), "dpkg", "--compare-versions", a, "lt", b).Run(); err != nil {
			t.Errorf("%s does not come before %s: %v", a, b, err)
		}
	}
}

// TestScriptsRemoveNoFolderWithSomethingInIt is why no mistake in them costs a replica.
func TestScriptsRemoveNoFolderWithSomethingInIt(t *testing.T) {
	recursive := regexp.MustCompile(`\brm\s+(-\w+\s+)*-\w*[rR]|--recursive|-delete|find .*rm`)
	for _, name := range []string{"postinstall", "preremove", "postremove"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if found := recursive.Find(text); found != nil {
			t.Errorf("%s has %q", name, found)
		}
		if out, err := exec.CommandContext(t.Context(), "dash", "-n", name).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}
