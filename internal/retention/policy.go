package retention

import (
	"fmt"
	"strconv"
	"strings"
)

// Max is the largest number that a rule may have.
const Max = 100_000

// Policy says which states of a replica are kept besides the newest, which always
// is. The zero value keeps the newest only: one plain image for each disk.
type Policy struct {
	Last    int // the so many newest states, in 0..Max
	Hourly  int // the newest state of each of so many hours, in 0..Max; likewise:
	Daily   int
	Weekly  int // ISO weeks, Monday to Sunday
	Monthly int
	Yearly  int
}

// Parse reads a policy: 0 for the newest state only, N for the N newest ones, or a
// grid, rules with a comma between them in any order, each at most once:
//
//	last=8,hourly=24,daily=7,weekly=4,monthly=12,yearly=3
//
// Numbers are decimal, in 1..Max within a grid: a rule that keeps nothing is more
// likely a mistake. There are no blanks in a policy.
func Parse(text string) (Policy, error) {
	if text == "" {
		return Policy{}, fmt.Errorf("keep policy is empty: say how many states to keep, or %s", example)
	}
	if n, err := number(text); err == nil {
		return Policy{Last: n}, nil
	} else if !strings.Contains(text, "=") {
		return Policy{}, fmt.Errorf("keep policy %q: %w: use 0, a number, or %s", text, err, example)
	}
	var p Policy
	fields := p.fields()
	for part := range strings.SplitSeq(text, ",") {
		name, value, found := strings.Cut(part, "=")
		field := find(fields, name)
		switch {
		case part == "":
			return Policy{}, fmt.Errorf("keep policy %q: a rule is missing at a comma", text)
		case !found:
			return Policy{}, fmt.Errorf("keep policy %q: %q is no rule: a rule looks like daily=7", text, part)
		case field == nil:
			return Policy{}, fmt.Errorf("keep policy %q: there is no rule %q, only %s", text, name, ruleNames)
		case *field != 0:
			return Policy{}, fmt.Errorf("keep policy %q: %s is there twice", text, name)
		}
		n, err := number(value)
		if err == nil && n == 0 {
			err = fmt.Errorf("0 keeps nothing: leave the rule out")
		}
		if err != nil {
			return Policy{}, fmt.Errorf("keep policy %q: %s: %w", text, name, err)
		}
		*field = n
	}
	return p, nil
}

// String gives the policy in the shortest form that [Parse] reads as the same one:
// 0, N, or a grid with its rules from the finest to the coarsest.
func (p Policy) String() string {
	var rules []string
	for _, f := range p.fields() {
		if *f.n != 0 {
			rules = append(rules, fmt.Sprintf("%s=%d", f.name, *f.n))
		}
	}
	if (p == Policy{Last: p.Last}) {
		return strconv.Itoa(p.Last)
	}
	return strings.Join(rules, ",")
}

// MarshalText is [Policy.String].
func (p Policy) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText is [Parse].
func (p *Policy) UnmarshalText(text []byte) error {
	parsed, err := Parse(string(text))
	if err != nil {
		return err
	}
	*p = parsed
	return nil
}

// example is what error messages show.
const (
	example   = "a grid like last=8,hourly=24,daily=7,weekly=4,monthly=12"
	ruleNames = "last, hourly, daily, weekly, monthly and yearly"
)

// field is one rule's name and its number in a policy.
type field struct {
	name string
	n    *int
}

func (p *Policy) fields() []field {
	return []field{
		{"last", &p.Last}, {"hourly", &p.Hourly}, {"daily", &p.Daily},
		{"weekly", &p.Weekly}, {"monthly", &p.Monthly}, {"yearly", &p.Yearly},
	}
}

func find(fields []field, name string) *int {
	for _, f := range fields {
		if f.name == name {
			return f.n
		}
	}
	return nil
}

// number reads a number of states or calendar units. Unlike strconv it takes
// digits only, no sign.
func number(text string) (int, error) {
	if text == "" {
		return 0, fmt.Errorf("the number is missing")
	}
	if strings.Trim(text, "0123456789") != "" {
		return 0, fmt.Errorf("%q is not a number of 0 or more", text)
	}
	n, err := strconv.Atoi(text)
	if err != nil || n > Max {
		return 0, fmt.Errorf("%s is more than %d", text, Max)
	}
	return n, nil
}
