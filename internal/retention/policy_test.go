package retention

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func TestPoliciesAreReadAndPrinted(t *testing.T) {
	for text, want := range map[string]struct {
		policy Policy
		prints string
	}{
		"0":      {Policy{}, "0"},
		"00":     {Policy{}, "0"},
		"1":      {Policy{Last: 1}, "1"},
		"100000": {Policy{Last: Max}, "100000"},
		"last=8": {Policy{Last: 8}, "8"},
		"last=8,hourly=24,daily=7,weekly=4,monthly=12,yearly=3": {
			Policy{Last: 8, Hourly: 24, Daily: 7, Weekly: 4, Monthly: 12, Yearly: 3},
			"last=8,hourly=24,daily=7,weekly=4,monthly=12,yearly=3"},
		"yearly=1,daily=07": {Policy{Daily: 7, Yearly: 1}, "daily=7,yearly=1"},
	} {
		got, err := Parse(text)
		if err != nil || got != want.policy {
			t.Errorf("%q: got %+v, %v", text, got, err)
		}
		if got.String() != want.prints {
			t.Errorf("%q prints as %q, not %q", text, got, want.prints)
		}
		if again, err := Parse(got.String()); err != nil || again != got {
			t.Errorf("%q does not survive printing: %+v, %v", text, again, err)
		}
	}
}

func TestBadPoliciesAreRefusedWithTheReason(t *testing.T) {
	for text, reason := range map[string]string{
		"":                      "empty",
		"-1":                    `"-1" is not a number`,
		"+1":                    `"+1" is not a number`,
		"1.5":                   `"1.5" is not a number`,
		"0x10":                  `"0x10" is not a number`,
		" 7":                    `" 7" is not a number`,
		"seven":                 `"seven" is not a number`,
		"100001":                "100001 is more than 100000",
		"99999999999999999999":  "99999999999999999999 is more than",
		"daily":                 `"daily" is not a number`,
		"daily=":                "daily: the number is missing",
		"daily=x":               `daily: "x" is not a number`,
		"daily=-7":              `daily: "-7" is not a number`,
		"daily=7=8":             `daily: "7=8" is not a number`,
		"daily=0":               "daily: 0 keeps nothing",
		"daily=100001":          "daily: 100001 is more than 100000",
		"=7":                    `there is no rule ""`,
		"fortnightly=2":         `there is no rule "fortnightly", only last, hourly`,
		"Daily=7":               `there is no rule "Daily"`,
		"daily=7, weekly=4":     `there is no rule " weekly"`,
		"daily=7,weekly":        `"weekly" is no rule`,
		"8,daily=7":             `"8" is no rule`,
		"daily=7,":              "a rule is missing",
		",daily=7":              "a rule is missing",
		"daily=7,,weekly=4":     "a rule is missing",
		"daily=7,daily=7":       "daily is there twice",
		"last=1,daily=7,last=2": "last is there twice",
	} {
		p, err := Parse(text)
		if err == nil {
			t.Errorf("%q: accepted as %v", text, p)
		} else if !strings.Contains(err.Error(), reason) {
			t.Errorf("%q: %v does not say %s", text, err, reason)
		}
		if (p != Policy{}) {
			t.Errorf("%q: left %+v", text, p)
		}
	}
}

func TestPolicyIsTextInJSON(t *testing.T) {
	var v struct{ Keep Policy }
	if err := json.Unmarshal([]byte(`{"Keep": "last=2,daily=7"}`), &v); err != nil {
		t.Fatal(err)
	}
	if got, err := json.Marshal(v); err != nil || string(got) != `{"Keep":"last=2,daily=7"}` {
		t.Errorf("%s, %v", got, err)
	}
	before := v.Keep
	if err := json.Unmarshal([]byte(`{"Keep": "nightly=2"}`), &v); err == nil || v.Keep != before {
		t.Errorf("%v, %v", v.Keep, err)
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{"0", "7", "last=8,hourly=24,daily=7,weekly=4,monthly=12,yearly=3", "daily=7,", "=,="} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := Parse(text)
		if err != nil {
			return
		}
		if again, err := Parse(p.String()); err != nil || again != p {
			t.Errorf("%q: %v reads as %v, %v", text, p, again, err)
		}
		if got := p.Keep(nil, nil); len(got) != 0 {
			t.Error(fmt.Sprint(got))
		}
	})
}
