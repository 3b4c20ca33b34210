package source

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"vmsync/internal/domainxml"
	"vmsync/replicator"
)

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestNVRAMIsReadAsItIs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "vars.fd")
	for name, want := range map[string][]byte{
		"raw":         bytes.Repeat([]byte{0xff}, 540672),
		"qcow2":       append([]byte("QFI\xfb\x00\x00\x00\x03"), make([]byte, 1000)...),
		"the largest": make([]byte, replicator.MaxNVRAM),
	} {
		write(t, path, want)
		if got, err := readNVRAM(path); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
}

func TestNVRAMThatCannotBeReadSaysWhy(t *testing.T) {
	dir := t.TempDir()
	at := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		write(t, path, data)
		return path
	}
	link, fifo := filepath.Join(dir, "link"), filepath.Join(dir, "fifo")
	if err := os.Symlink("/etc/passwd", link); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	overlay := make([]byte, 512)
	copy(overlay, "QFI\xfb\x00\x00\x00\x03")
	overlay[15] = 1
	for path, why := range map[string]string{
		"":                                 "not in a file",
		filepath.Join(dir, "none"):         "no such file",
		link:                               "symbolic link",
		fifo:                               "no regular file",
		dir:                                "no regular file",
		at("empty", nil):                   "is empty",
		at("overlay", overlay):             "on top of another",
		at("huge", make([]byte, 64<<20+1)): "more than",
	} {
		if b, err := readNVRAM(path); err == nil || !strings.Contains(err.Error(), why) || b != nil {
			t.Errorf("%s: %d bytes, %v", path, len(b), err)
		}
	}
}

func TestTPMStateIsRead(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/tpm2/tpm2-00.permall", []byte("keys"))
	write(t, dir+"/tpm2/tpm2-00.volatilestate", []byte("v"))
	write(t, dir+"/tpm2/.lock", nil)
	write(t, dir+"/tpm2/TMP2-00.permall", []byte("half"))
	write(t, dir+"/tpm2/sub/x", []byte("x"))
	write(t, dir+"/tpm1.2/tpm-00.permall", []byte("old"))
	if err := os.Symlink("/etc/shadow", dir+"/tpm2/shadow"); err != nil {
		t.Fatal(err)
	}
	for version, want := range map[string]string{"2.0": "tpm2/tpm2-00.permall=keys tpm2/tpm2-00.volatilestate=v", "1.2": "tpm1.2/tpm-00.permall=old"} {
		archive, err := readTPM(domainxml.TPM{Backend: "emulator", Version: version}, dir)
		if err != nil {
			t.Fatal(err)
		}
		files, err := replicator.ReadTPM(archive)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range files {
			got = append(got, f.Name+"="+string(f.Data))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("version %s: %q, want %q", version, got, want)
		}
	}
}

func TestTPMThatCannotBeReadSaysWhy(t *testing.T) {
	dir := t.TempDir()
	emulator := domainxml.TPM{Backend: "emulator", Version: "2.0"}
	for _, c := range []struct {
		tpm domainxml.TPM
		dir string
		why string
	}{
		{domainxml.TPM{Backend: "passthrough"}, dir, "elsewhere"},
		{domainxml.TPM{Backend: "emulator", Source: true}, dir, "a place of its own"},
		{emulator, dir + "/none", "no such file"},
		{emulator, dir, "holds none"},
		{emulator, dir + "/large", "more than"},
	} {
		if err := os.MkdirAll(c.dir+"/tpm2", 0o700); c.why == "holds none" && err != nil {
			t.Fatal(err)
		}
		if c.why == "no such file" {
			if err := os.RemoveAll(c.dir); err != nil {
				t.Fatal(err)
			}
		}
		if c.why == "more than" {
			write(t, c.dir+"/tpm2/a", make([]byte, replicator.MaxTPM))
			write(t, c.dir+"/tpm2/b", []byte("x"))
		}
		if b, err := readTPM(c.tpm, c.dir); err == nil || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%+v: %d bytes, %v", c, len(b), err)
		}
	}
}
