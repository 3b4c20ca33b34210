package remote

import "testing"

func TestReached(t *testing.T) {
	for value, want := range map[string][2]string{
		"192.0.2.2 50000 192.0.2.1 22":     {"192.0.2.2", "192.0.2.1"},
		"2001:db8::2 50000 2001:db8::1 22": {"2001:db8::2", "2001:db8::1"},
		"":                                 {},
		"192.0.2.2 50000":                  {},
		"UNKNOWN":                          {},
	} {
		from, to := Reached(func(name string) string {
			if name != "SSH_CONNECTION" {
				t.Errorf("asked for %s", name)
			}
			return value
		})
		if from != want[0] || to != want[1] {
			t.Errorf("%q: got %q, %q", value, from, to)
		}
	}
}
