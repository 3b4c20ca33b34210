package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vmsync/systemd"
)

func TestLoad(t *testing.T) {
	file := filepath.Join(t.TempDir(), "vmsync.yaml")
	if _, err := Load(file); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "vmsync config example") {
		t.Errorf("%v", err)
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(head + "machines: [{name: m}]\n")
	if c, err := Load(file); err != nil || len(c.Sources) != 2 || c.Sources[0].Name != "a" {
		t.Errorf("%+v, error %v", c, err)
	}
	write(head)
	if _, err := Load(file); err == nil || !strings.HasPrefix(err.Error(), file+":1:1: machines is missing") {
		t.Errorf("%v", err)
	}
}

func TestFilesFromElsewhereAreTaken(t *testing.T) {
	text := head + "machines: [{name: m}]\n"
	for name, c := range map[string]string{
		"a byte order mark": "\ufeff" + text, "lines of Windows": strings.ReplaceAll(text, "\n", "\r\n"), "no line's end at the end": strings.TrimSpace(text),
		"a document's beginning and end": "---\n" + text + "...\n", "JSON": `{"version": 1, "sources": {"a": "qemu:///system"}, "machines": [{"name": "m", "every": "5m"}]}`,
	} {
		if _, err := Parse("f", []byte(c)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTooLargeIsRefused(t *testing.T) {
	got := refused(t, strings.Repeat("#", MaxSize+1))
	if got != "f:1:1: more than 1048576 bytes: use patterns instead of an entry for each machine" {
		t.Error(got)
	}
}

func TestNumberOfErrorsIsBounded(t *testing.T) {
	lines := strings.Split(refused(t, head+"machines:\n"+strings.Repeat("- {name: m, x: 1, y: 2}\n", 1000)), "\n")
	if len(lines) != maxErrors || !strings.HasSuffix(lines[maxErrors-1], "(and 1950 more errors: correct these first)") {
		t.Errorf("%d lines, the last %s", len(lines), lines[len(lines)-1])
	}
}

func TestNumberOfMachinesIsBounded(t *testing.T) {
	var b strings.Builder
	for i := range maxMachines + 1 {
		fmt.Fprintf(&b, "- name: m%d\n", i)
	}
	if got := refused(t, head+"machines:\n"+b.String()); got != "f:4:1: machines: more than 10000 entries: use patterns" {
		t.Error(got)
	}
	b.Reset()
	for i := range maxPatterns + 1 {
		fmt.Fprintf(&b, "- name: m%d*\n", i)
	}
	if got := refused(t, head+"machines:\n"+b.String()); got != "f:4:1: machines and exclude: more than 500 patterns: use fewer, wider ones" {
		t.Error(got)
	}
	b.Reset()
	for i := range maxSources + 1 {
		fmt.Fprintf(&b, "  s%d: qemu+ssh://h%d/system\n", i, i)
	}
	if got := refused(t, "version: 1\nsources:\n"+b.String()+"machines: [{name: m, every: 1h}]\n"); got != "f:2:1: sources: more than 100: use several services" {
		t.Error(got)
	}
}

// TestLargestFile has as many machines, patterns and sources as are taken, each of which
// has to be compared with the others: it takes seconds, not minutes.
func TestLargestFile(t *testing.T) {
	var b strings.Builder
	b.WriteString("version: 1\ndefaults: {every: 1h}\nsources:\n")
	for i := range maxSources {
		fmt.Fprintf(&b, "  s%d: qemu+ssh://h%d/system\n", i, i)
	}
	b.WriteString("machines:\n")
	for i := range maxPatterns {
		fmt.Fprintf(&b, "- {name: '*%d*', source: s%d}\n", i, i%maxSources)
	}
	for i := range maxMachines - maxPatterns {
		fmt.Fprintf(&b, "- {name: machine-%d}\n", i)
	}
	start := time.Now()
	c := parsed(t, b.String())
	t.Logf("%d bytes in %v", b.Len(), time.Since(start))
	if _, ok := c.Resolve("s7", "machine-77"); !ok {
		t.Error("a machine is missing")
	}
}

func TestMessagesKeepToTheirLine(t *testing.T) {
	got := refused(t, head+"machines: [{name: m, \"\\e[31m\\nx\": 1, store: \""+strings.Repeat("long ", 400)+"\"}]\n")
	if strings.Count(got, "\n") != 1 || strings.Contains(got, "\x1b") || len(got) > 1500 {
		t.Errorf("%q", got)
	}
}

// FuzzParse: no text makes it panic, hang or take more than it should, and what is taken
// can be asked for and shown.
func FuzzParse(f *testing.F) {
	f.Add([]byte(systemd.Sample()))
	f.Add([]byte(fleet))
	f.Add([]byte(head + "machines: [{name: m, rate: [{from: '08:00', to: '02:00', days: [fri-mon], rate: 5M}], cron: 'CRON_TZ=UTC 0 0 29 2 *'}]\n"))
	f.Add([]byte(head + "machines: [{name: '[a-', keep: last=1,daily=2, target_domain: '{source}{domain}'}]\n"))
	f.Add([]byte("a: &a [*a, *a]\nb: !!binary x\n<<: *a\n"))
	f.Add([]byte(strings.Repeat("[", 2000)))
	f.Add([]byte(strings.Repeat("- ", 2000)))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse("f", data)
		if err != nil {
			var all Errors
			if !errors.As(err, &all) || len(all) == 0 || len(all) > maxErrors {
				t.Fatalf("%T: %v", err, err)
			}
			for _, e := range all {
				if e.Line < 1 || e.Column < 1 || e.Message == "" || strings.ContainsAny(e.Message, "\n\x1b") {
					t.Fatalf("%+v", e)
				}
			}
			return
		}
		c.View()
		for _, e := range c.Entries() {
			for _, source := range e.Sources {
				p, ok := c.Resolve(source, e.Name)
				if !ok && !e.Pattern {
					t.Fatalf("%s on %s is an entry and not replicated", e.Name, source)
				}
				if s := p.Schedule; ok && s.Every == 0 && s.Cron == nil && s.RPO == 0 {
					t.Fatalf("%s on %s has no schedule", e.Name, source)
				}
				if ok && (p.Store == "" || p.TargetDomain == "") {
					t.Fatalf("%+v", p)
				}
			}
		}
	})
}
