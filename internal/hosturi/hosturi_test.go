package hosturi

import "testing"

func TestParse(t *testing.T) {
	good := map[string]Endpoint{
		"qemu:///system":                         {Local: true, Name: "localhost"},
		"qemu+ssh://hosta/system":                {Host: "hosta", Name: "hosta"},
		"qemu+ssh://root@hosta/system":           {User: "root", Host: "hosta", Name: "hosta"},
		"qemu+ssh://root@hosta:2222/system":      {User: "root", Host: "hosta", Port: 2222, Name: "hosta"},
		"qemu+ssh://[fd00::1]:22/system":         {Host: "fd00::1", Port: 22, Name: "fd00::1"},
		"qemu+ssh://admin@h.example.org/system/": {User: "admin", Host: "h.example.org", Name: "h.example.org"},
	}
	for uri, want := range good {
		if got, err := Parse(uri); err != nil || got != want {
			t.Errorf("%s: got %+v, %v; want %+v", uri, got, err, want)
		}
	}
	for _, uri := range []string{
		"", "hosta", "qemu:///session", "qemu+ssh:///system", "qemu+ssh://hosta/session", "qemu+tcp://hosta/system",
		"qemu+tls://hosta/system", "xen:///system", "qemu://hosta/system", "qemu+ssh://root:secret@hosta/system",
		"qemu+ssh://hosta/system?keyfile=/x", "qemu+ssh://ho sta/system", "::", "qemu+ssh://hosta:0/system", "qemu+ssh://hosta:70000/system",
	} {
		if got, err := Parse(uri); err == nil {
			t.Errorf("%q was taken for %+v", uri, got)
		}
	}
}
