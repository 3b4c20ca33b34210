package store

import (
	"errors"
	"os"
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

func TestLastSetThatIsComplete(t *testing.T) {
	// Each replica by the sets of its states, oldest first; "" is a state of none.
	for name, c := range map[string]struct {
		db, web []string
		want    string // of db
	}{
		"none":                  {[]string{"", ""}, []string{"a"}, ""},
		"the head":              {[]string{"a", "b"}, []string{"a", "b"}, "b"},
		"web fails since":       {[]string{"a", "b", "c", ""}, []string{"a"}, "a"},
		"web never was":         {[]string{"a", "b"}, nil, ""},
		"web has come to other": {[]string{"a", "b"}, []string{"b", "c", ""}, "b"},
		"web cannot be read":    {[]string{"a", "b"}, []string{"broken"}, "b"},
	} {
		dir := t.TempDir()
		id := func(set string) string { return strings.Repeat(set, 12) }
		save := func(replica string, sets []string) *Manifest {
			f, err := Lock(dir, replica)
			if err != nil {
				t.Fatal(err)
			}
			generations := make([]int64, len(sets))
			for i := range sets {
				generations[i] = int64(i + 1)
			}
			m := held(generations...)
			m.TargetDomain = replica
			for i, set := range sets {
				m.States[i].Group = nil
				if set != "" {
					m.States[i].Group = &Group{ID: id(set), Name: "shop", Members: []string{"db", "web"}}
				}
			}
			if slices.Equal(sets, []string{"broken"}) {
				err = os.WriteFile(f.Path(ManifestName), []byte("{"), 0o600)
			} else {
				err = f.Save(m)
			}
			if err := errors.Join(err, f.Unlock()); err != nil {
				t.Fatal(err)
			}
			return m
		}
		m := save("db", c.db)
		if c.web != nil {
			save("web", c.web)
		}
		got := ""
		if s := LastWhole(dir, m); s != nil {
			got = s.Group.ID
		}
		if got != id(c.want) {
			t.Errorf("%s: %q, want %q", name, got, id(c.want))
		}
	}
}
