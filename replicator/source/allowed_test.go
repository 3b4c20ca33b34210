package source

import "testing"

func TestControllerMayHaveItsMachinesAlone(t *testing.T) {
	for _, c := range []struct {
		patterns []string
		name     string
		may      bool
	}{
		{nil, "anything", true},
		{[]string{"shop-*", "db1"}, "shop-web", true},
		{[]string{"shop-*", "db1"}, "shop-", true},
		{[]string{"shop-*", "db1"}, "db1", true},
		{[]string{"shop-*", "db1"}, "db10", false},
		{[]string{"shop-*", "db1"}, "workshop-1", false},
		{[]string{"shop-*", "db1"}, "", false},
		{[]string{"["}, "[", false},
		{[]string{""}, "vm1", false},
	} {
		e := &End{opts: Options{Machines: c.patterns}}
		if got := e.mayHave(c.name); got != c.may {
			t.Errorf("%q of %q: %v", c.name, c.patterns, got)
		}
	}
}
