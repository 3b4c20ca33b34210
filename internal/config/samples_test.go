package config

import (
	"path/filepath"
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
	keys := append(topKeys(), settingKeys()...)
	keys = append(keys, hostKeys()...)
	keys = append(keys, "name", "source", "from", "to", "days", "on", "command", "timeout", "on_failure", "total", "per_source", "per_target_host", "first", "max",
		"webhook", "smtp", "events", "host", "port", "user", "password_file", "starttls", "socket", "group", "listen", "path", "keep_runs", "keep_for")
	for _, key := range keys {
		if !strings.Contains(systemd.Sample(), key+":") {
			t.Errorf("%s is not in the sample", key)
		}
	}
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
