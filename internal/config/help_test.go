package config

import (
	"errors"
	"testing"

	"go.yaml.in/yaml/v4"
)

// head is a file's beginning that is correct, of three lines.
const head = "version: 1\nsources: {a: 'qemu+ssh://root@hosta/system', b: 'qemu+ssh://hostb/system'}\ndefaults: {every: 15m}\n"

func parsed(t *testing.T, text string) *Config {
	t.Helper()
	c, err := Parse("f", []byte(text))
	if err != nil {
		t.Fatalf("%v\nin:\n%s", err, text)
	}
	return c
}

// refused gives the errors of a text, one per line.
func refused(t *testing.T, text string) string {
	t.Helper()
	c, err := Parse("f", []byte(text))
	if err == nil {
		t.Fatalf("taken as %+v:\n%s", c, text)
	}
	var all Errors
	var one *Error
	if !errors.As(err, &all) || len(all) == 0 || !errors.As(err, &one) {
		t.Fatalf("%T is no list of errors", err)
	}
	return err.Error()
}

func resolved(t *testing.T, c *Config, source, domain string) Policy {
	t.Helper()
	p, ok := c.Resolve(source, domain)
	if !ok {
		t.Fatalf("%s on %s is not replicated", domain, source)
	}
	return p
}

// view is a configuration as config show shows it.
func view(t *testing.T, text string) string {
	t.Helper()
	out, err := yaml.Marshal(parsed(t, text).View())
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
