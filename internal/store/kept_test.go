package store

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
)

func TestKeptFilesReadAsReceivedOrNotAtAll(t *testing.T) {
	dir, f, m := replica(t, 1)
	s := &m.States[0]
	s.NVRAM = NVRAMName(1)
	for name, content := range map[string]string{s.DomainXML: "<domain/>", s.NVRAM: "variables"} {
		if err := f.Keep(s, name, []byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Save(m); err != nil {
		t.Fatal(err)
	}
	m, err := Read(dir, "vm1")
	if err != nil {
		t.Fatal(err)
	}
	s = m.Head()
	read := func(name string) (string, error) {
		b, err := s.ReadKept(f.Dir(), name)
		return string(b), err
	}
	if got, err := read(s.NVRAM); err != nil || got != "variables" {
		t.Errorf("got %q, %v", got, err)
	}
	put := func(content string) {
		t.Helper()
		if err := os.WriteFile(f.Path(s.NVRAM), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, content := range []string{"variablez", "variables ", "variable"} {
		put(content)
		if got, err := read(s.NVRAM); !errors.Is(err, ErrAltered) || got != "" || !strings.Contains(err.Error(), s.NVRAM) {
			t.Errorf("%q: got %q, %v", content, got, err)
		}
	}
	put("")
	if _, err := read(s.NVRAM); err == nil || !strings.Contains(err.Error(), "nvram/1.fd is empty") {
		t.Errorf("empty: got %v", err)
	}
	if err := os.Truncate(f.Path(s.NVRAM), maxKept+1); err != nil {
		t.Fatal(err)
	}
	if _, err := read(s.NVRAM); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("huge: got %v", err)
	}
	if err := os.Remove(f.Path(s.NVRAM)); err != nil {
		t.Fatal(err)
	}
	if _, err := read(s.NVRAM); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: got %v", err)
	}
	if err := os.Mkdir(f.Path(s.NVRAM), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := read(s.NVRAM); err == nil || !strings.Contains(err.Error(), "no regular file") {
		t.Errorf("a folder: got %v", err)
	}
	if got, err := read(s.DomainXML); err != nil || got != "<domain/>" {
		t.Errorf("got %q, %v", got, err)
	}
	s.SHA256 = nil
	if err := os.WriteFile(f.Path(s.DomainXML), []byte("<other/>"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := read(s.DomainXML); err != nil || got != "<other/>" {
		t.Errorf("without digests: got %q, %v", got, err)
	}
}
