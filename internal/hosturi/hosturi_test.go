package hosturi

import (
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	good := map[string]Endpoint{
		"qemu:///system":                         {Local: true, Name: "localhost"},
		"qemu+ssh://hosta/system":                {Host: "hosta", Name: "hosta"},
		"qemu+ssh://root@hosta/system":           {User: "root", Host: "hosta", Name: "hosta"},
		"qemu+ssh://root@hosta:2222/system":      {User: "root", Host: "hosta", Port: 2222, Name: "hosta"},
		"qemu+ssh://[fd00::1]:22/system":         {Host: "fd00::1", Port: 22, Name: "fd00::1"},
		"qemu+ssh://admin@h.example.org/system/": {User: "admin", Host: "h.example.org", Name: "h.example.org"},
		"vmsync+tls://hosta/system":              {TLS: true, Host: "hosta", Port: 10810, Name: "hosta"},
		"vmsync+tls://[fd00::1]:4433/system":     {TLS: true, Host: "fd00::1", Port: 4433, Name: "fd00::1"},
	}
	for uri, want := range good {
		if got, err := Parse(uri); err != nil || got != want {
			t.Errorf("%s: got %+v, %v; want %+v", uri, got, err, want)
		}
	}
	for _, uri := range []string{
		"", "hosta", "qemu:///session", "qemu+ssh:///system", "qemu+ssh://hosta/session", "qemu+tcp://hosta/system",
		"qemu+tls://hosta/system", "vmsync+tls:///system", "vmsync+tls://root@hosta/system", "vmsync+tls://hosta", "vmsync+tls://hosta:0/system", "xen:///system", "qemu://hosta/system", "qemu+ssh://root:secret@hosta/system",
		"qemu+ssh://hosta/system?keyfile=/x", "qemu+ssh://ho sta/system", "::", "qemu+ssh://hosta:0/system", "qemu+ssh://hosta:70000/system",
	} {
		if got, err := Parse(uri); err == nil {
			t.Errorf("%q was taken for %+v", uri, got)
		}
	}
}

// TestLibvirtsOwnTLSIsNotTakenForOurs has a URI that works with virsh.
func TestLibvirtsOwnTLSIsNotTakenForOurs(t *testing.T) {
	_, err := Parse("qemu+tls://hosta:16514/system")
	if err == nil || !strings.Contains(err.Error(), "vmsync+tls://hosta/system") {
		t.Errorf("the error does not name the URI to use: %v", err)
	}
}
