package upstream_test

import (
	"net"
	"path/filepath"
	"strings"
	"testing"

	"vmsync/nbdproxy/upstream"
)

func TestURIsThatNameAnExport(t *testing.T) {
	for uri, want := range map[string]upstream.Config{
		"nbd+unix:///vda?socket=/run/x/bk.sock":       {Socket: "/run/x/bk.sock", Export: "vda"},
		"nbd+unix://?socket=/s":                       {Socket: "/s"},
		"nbd+unix:///?socket=/s":                      {Socket: "/s"},
		"nbd+unix:///a/b%20c?socket=/with%20space":    {Socket: "/with space", Export: "a/b c"},
		"nbd://localhost":                             {Address: "localhost:10809"},
		"nbd://10.77.0.11:10810/vda":                  {Address: "10.77.0.11:10810", Export: "vda"},
		"nbd://[fe80::1%25eth0]/sda":                  {Address: "[fe80::1%eth0]:10809", Export: "sda"},
		"nbd://host//x":                               {Address: "host:10809", Export: "/x"},
		"nbd://host/" + strings.Repeat("x", 4096):     {Address: "host:10809", Export: strings.Repeat("x", 4096)},
		"nbd+unix:///%D1%84?socket=%2Frun%2Fa%3Fb%26": {Socket: "/run/a?b&", Export: "ф"},
	} {
		got, err := upstream.ParseURI(uri)
		if err != nil || got != want {
			t.Errorf("%s: %+v, error %v; want %+v", uri, got, err, want)
		}
	}
}

func TestURIsThatAreRefused(t *testing.T) {
	for _, uri := range []string{
		"", "vda", "/run/s", "http://h/x", "nbd:vda", "nbd:unix:/s:exportname=vda", "nbd:///vda", "nbd://u@h/x", "nbd://h/x#y",
		"nbd://h/x?socket=/s", "nbd://h/x?tls=no", "nbds://h/x", "nbds+unix:///x?socket=/s",
		"nbd+unix:///x", "nbd+unix:///x?socket=", "nbd+unix:///x?socket=relative", "nbd+unix://h/x?socket=/s",
		"nbd+unix:///x?socket=/s&socket=/t", "nbd+unix:///x?socket=/s&more=1", "nbd+unix:///x?socket=/a%00b",
		"nbd://h/a%00b", "nbd://h/" + strings.Repeat("x", 4097), "nbd://h:port/x", "nbd://h/%zz",
	} {
		if c, err := upstream.ParseURI(uri); err == nil {
			t.Errorf("%q was taken for %+v", uri, c)
		} else if !strings.Contains(err.Error(), "NBD URI") {
			t.Errorf("%q: the error does not say what is wrong: %v", uri, err)
		}
	}
}

func FuzzParseURI(f *testing.F) {
	for _, uri := range []string{
		"nbd+unix:///vda?socket=/run/x/bk.sock", "nbd://[::1]:10810/a%20b", "nbd+unix:///x?socket=/a%00b", "nbd:unix:/s", "nbds://h/x", "nbd://h:0/%zz?a=;",
	} {
		f.Add(uri)
	}
	f.Fuzz(func(t *testing.T, uri string) {
		c, err := upstream.ParseURI(uri)
		if err != nil {
			if c != (upstream.Config{}) {
				t.Fatalf("%+v with error %v", c, err)
			}
			return
		}
		if (c.Socket == "") == (c.Address == "") || c.Bitmap != "" {
			t.Fatalf("%+v", c)
		}
		if c.Socket != "" && !filepath.IsAbs(c.Socket) || len(c.Export) > 4096 || strings.ContainsRune(c.Socket+c.Export, 0) {
			t.Fatalf("%+v", c)
		}
		if c.Address != "" {
			if host, port, err := net.SplitHostPort(c.Address); err != nil || host == "" || port == "" {
				t.Fatalf("%+v", c)
			}
		}
	})
}
