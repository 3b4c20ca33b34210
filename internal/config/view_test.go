package config

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"

	"vmsync/systemd"
)

// TestPolicyShownReadsAsTheSame takes what config show prints of a machine for the only
// entry of a file.
func TestPolicyShownReadsAsTheSame(t *testing.T) {
	c := parsed(t, systemd.Sample())
	for _, m := range [][2]string{{"hosta", "db1"}, {"hosta", "archive"}, {"hostb", "archive"}, {"hosta", "shop-web"}, {"hosta", "web-7"}, {"hostb", "web-7"}, {"hostb", "any"}} {
		p := resolved(t, c, m[0], m[1])
		for _, kind := range []struct {
			name, before string
			marshal      func(any) ([]byte, error)
		}{{"yaml", "\n", yaml.Marshal}, {"json", " ", json.Marshal}} {
			v := p.View()
			v.From = nil
			text, err := kind.marshal([]PolicyView{v})
			if err != nil {
				t.Fatal(err)
			}
			var file map[string]any
			if err := yaml.Unmarshal([]byte(systemd.Sample()), &file); err != nil {
				t.Fatal(err)
			}
			delete(file, "defaults")
			delete(file, "machines")
			rest, err := yaml.Marshal(file)
			if err != nil {
				t.Fatal(err)
			}
			again := resolved(t, parsed(t, string(rest)+"machines:"+kind.before+string(text)), m[0], m[1])
			p.From, again.From = nil, nil
			if d := cmp.Diff(p, again, cmp.Comparer(func(a, b *Cron) bool { return cronText(a) == cronText(b) })); d != "" {
				t.Errorf("%v as %s: %s\n%s", m, kind.name, d, text)
			}
		}
	}
}

func TestSecretsInWebAddressesAreNotShown(t *testing.T) {
	v := parsed(t, head+"machines: [{name: m}]\nnotifications: {n: {webhook: 'https://u:pw@chat.example.org:8443/hooks/s3cret?token=t'}}\n").View()
	if got := v.Notifications["n"].Webhook; got != "https://chat.example.org:8443/…" {
		t.Error(got)
	}
}

// TestShownOncePerDifferentSource: an entry for several sources is shown once, unless
// another pattern holds on some of them.
func TestShownOncePerDifferentSource(t *testing.T) {
	v := parsed(t, head+"machines: [{name: m}, {name: n}, {name: 'm*', source: b, keep: 3}]\n").View()
	var got []string
	for _, m := range v.Machines {
		text, err := json.Marshal([]any{m.Name, m.Source, m.Keep})
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(text))
	}
	want := []string{`["m",["a"],""]`, `["m",["b"],"3"]`, `["n",null,""]`, `["m*",["b"],"3"]`}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
