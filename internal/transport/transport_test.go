package transport

import "testing"

func TestParse(t *testing.T) {
	for in, want := range map[string]Transport{"": Auto, "auto": Auto, "direct": Direct, "ssh": SSH} {
		if got, err := Parse(in); err != nil || got != want {
			t.Errorf("%q: got %q, error %v", in, got, err)
		}
	}
	if _, err := Parse("tcp"); err == nil {
		t.Error("tcp was taken")
	}
}
