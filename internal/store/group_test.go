package store

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestGroupOfAState(t *testing.T) {
	for name, c := range map[string]struct {
		group *Group
		wrong string
	}{
		"none":                  {nil, ""},
		"one":                   {&Group{ID: "0123456789ab", Name: "shop", Members: []string{"db", "web"}}, ""},
		"no id":                 {&Group{Members: []string{"db"}}, "bad group id"},
		"of others":             {&Group{ID: "0123456789ab", Members: []string{"web"}}, "not one of its members"},
		"a member elsewhere":    {&Group{ID: "0123456789ab", Members: []string{"../web", "db"}}, "../web"},
		"a member without name": {&Group{ID: "0123456789ab", Members: []string{"", "db"}}, "group 0123456789ab"},
	} {
		err := c.group.check("db")
		if (err == nil) != (c.wrong == "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A set is complete where each of its members holds a state of it.
func TestMembersWithoutAStateOfTheSetAreMissing(t *testing.T) {
	dir := t.TempDir()
	group := func(id string) *Group {
		return &Group{ID: id, Name: "shop", Members: []string{"db", "queue", "web"}, OneInstant: true}
	}
	for replica, id := range map[string]string{"db": "0123456789ab", "queue": "0123456789ab", "web": "ba9876543210"} {
		f, err := Lock(dir, replica)
		if err != nil {
			t.Fatal(err)
		}
		m := held(1, 2)
		m.TargetDomain = replica
		m.States[0].Group, m.States[1].Group = group(id), nil
		if err := errors.Join(f.Save(m), f.Unlock()); err != nil {
			t.Fatal(err)
		}
	}
	if got := Missing(dir, group("0123456789ab")); !slices.Equal(got, []string{"web"}) {
		t.Errorf("missing %q", got)
	}
	if got := Missing(dir, group("ba9876543210")); !slices.Equal(got, []string{"db", "queue"}) {
		t.Errorf("missing %q", got)
	}
	if got := Missing(dir, &Group{ID: "0123456789ab", Members: []string{"db", "gone"}}); !slices.Equal(got, []string{"gone"}) {
		t.Errorf("missing %q", got)
	}
}
