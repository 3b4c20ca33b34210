package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"vmsync/systemd"
)

// TestEverySampleIsTaken walks the repository's samples, so that none of them rots.
func TestEverySampleIsTaken(t *testing.T) {
	var files []string
	for _, pattern := range []string{"../../systemd/*.yaml", "../../docs/samples/*.yaml"} {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			t.Fatalf("%s: %d files, error %v", pattern, len(found), err)
		}
		files = append(files, found...)
	}
	for _, file := range files {
		c, err := Load(file)
		if err != nil {
			t.Error(err)
			continue
		}
		if len(c.Entries()) == 0 {
			t.Errorf("%s has no machines", file)
		}
	}
}

// TestSampleHasEveryKey keeps the long sample complete.
func TestSampleHasEveryKey(t *testing.T) {
	for _, key := range allKeys() {
		if !strings.Contains(systemd.Sample(), key+":") {
			t.Errorf("%s is not in the sample", key)
		}
	}
}

func allKeys() []string {
	return slices.Concat(topKeys(), hostKeys(), entryKeys(), windowKeys(), hookKeys(), notificationKeys(), smtpKeys(), concurrencyKeys(), retryKeys(), apiKeys(),
		metricsKeys(), historyKeys())
}

// TestSampleDefaultsAreTrue takes the # off the keys that show their defaults: nothing may
// change.
func TestSampleDefaultsAreTrue(t *testing.T) {
	text := systemd.Sample()
	full := text
	for _, key := range append(topKeys(), append(settingKeys(), "socket")...) {
		full = strings.ReplaceAll(full, "\n#"+key+":", "\n"+key+":")
		full = strings.ReplaceAll(full, "\n  #"+key+":", "\n  "+key+":")
	}
	if strings.Count(full, "\n#target:")+strings.Count(full, "  #quiesce:") > 0 || full == text {
		t.Fatal("nothing was uncommented")
	}
	want, got := view(t, text), view(t, full)
	if want != got {
		t.Errorf("with defaults left out:\n%s\nwith them:\n%s", want, got)
	}
}

// TestDocumentationHasEveryKey also takes every whole file in it for one.
func TestDocumentationHasEveryKey(t *testing.T) {
	text, err := os.ReadFile("../../docs/CONFIG.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range allKeys() {
		if !strings.Contains(string(text), "`"+key+"`") {
			t.Errorf("%s is not in docs/CONFIG.md", key)
		}
	}
	files := 0
	for _, block := range strings.Split(string(text), "```yaml\n")[1:] {
		block, _, _ = strings.Cut(block, "```")
		files++
		if _, err := Parse("docs/CONFIG.md", []byte(block)); err != nil {
			t.Errorf("%v in:\n%s", err, block)
		}
	}
	if files < 3 {
		t.Errorf("%d files", files)
	}
}
