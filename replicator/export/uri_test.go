package export

import (
	"os"
	"testing"
)

func TestURIsLeadToTheExport(t *testing.T) {
	self, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for got, want := range map[string]string{
		unixURI("/run/vm1.sock", "vda"):             "nbd+unix:///vda?socket=/run/vm1.sock",
		unixURI("/run/a b&c+d=e;f?g#h%", "a/b ?"):   "nbd+unix:///a/b%20%3F?socket=/run/a%20b%26c%2Bd%3De%3Bf%3Fg%23h%25",
		tcpURI("127.0.0.1:10809", "vda", false):     "nbd://127.0.0.1:10809/vda",
		tcpURI("[::1]:10809", "vda", false):         "nbd://[::1]:10809/vda",
		tcpURI("[fe80::1%eth0]:10809", "vda", true): "nbds://[fe80::1%25eth0]:10809/vda",
		tcpURI("0.0.0.0:10809", "vda", true):        "nbds://" + self + ":10809/vda",
		tcpURI("[::]:10809", "vda", true):           "nbds://" + self + ":10809/vda",
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
