package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"vmsync/internal/notify"
)

// TestNotifyTest sends test messages, to a webhook that takes them and to programs that do
// and don't.
func TestNotifyTest(t *testing.T) {
	var got notify.Message
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
			t.Error(err)
		}
	}))
	defer hook.Close()
	t.Chdir(t.TempDir())
	const machines = "version: 1\nsources: {a: 'qemu+ssh://h/system'}\nmachines: [{name: m, every: 5m}]\n"
	for name, text := range map[string]string{
		"good.yaml": machines + "notifications: {chat: {webhook: '" + hook.URL + "/s3cret', events: failed}, page: {command: [/bin/false]}, fine: {command: [/bin/true]}}\n",
		"none.yaml": machines,
		"bad.yaml":  machines + "notifications: {chat: {webhok: x}}\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		args        string
		code        int
		out, errors string
	}{
		{"notify test chat --config good.yaml", 0, "chat: sent\n", ""},
		{"notify test fine page chat --config good.yaml", exitFailed, "fine: sent\nchat: sent\n", "page: run the command: /bin/false failed with status 1\n"},
		{"notify test --config good.yaml", exitFailed, "chat: sent\nfine: sent\n", "page: run the command: /bin/false failed with status 1\n"},
		{"notify test mail --config good.yaml", exitUsage, "", "vmsync: good.yaml has no notification mail: known are chat, fine, page\n"},
		{"notify test --config none.yaml", exitFailed, "", "vmsync: none.yaml has no notifications: add some, see docs/CONFIG.md\n"},
		{"notify test --config bad.yaml", exitFailed, "", "bad.yaml:4:"},
		{"notify test --config gone.yaml", exitFailed, "", "gone.yaml: no such file"},
		{"notify", 0, "Available Commands", ""},
	} {
		code, out, errors := runHere(t, strings.Fields(c.args))
		if code != c.code || !strings.Contains(out, c.out) || !strings.Contains(errors, c.errors) || (c.errors == "") != (errors == "") {
			t.Errorf("%s: code %d, out %q, errors %q", c.args, code, out, errors)
		}
	}
	if len(got.News) != 1 || got.News[0].Event != notify.Test || !strings.HasSuffix(got.Subject, "] this is a test of the notification chat") || got.News[0].Domain != "" {
		t.Errorf("%+v", got)
	}
	hook.Close()
	if _, _, errors := runHere(t, strings.Fields("notify test chat --config good.yaml")); !strings.Contains(errors, "connection refused") || strings.Contains(errors, "s3cret") {
		t.Error(errors)
	}
}
