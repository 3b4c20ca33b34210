package export

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vmsync/nbdproxy/nbdconn"
)

func TestClassify(t *testing.T) {
	for name, c := range map[string]struct {
		alloc uint32
		full  bool
		dirty uint32
		want  class
	}{
		"full, allocated":            {0, true, 0, data},
		"full, hole that reads zero": {stateHole | stateZero, true, 0, zero},
		"full, allocated zeros":      {stateZero, true, 0, zero},
		"full, hole of unknown data": {stateHole, true, 0, data},
		"full, zero and unknown bit": {stateZero | 1<<7, true, 0, data},
		"full, unknown bit":          {1 << 31, true, 0, data},
		"clean, allocated":           {0, false, 0, unchanged},
		"clean, zero":                {stateHole | stateZero, false, 0, unchanged},
		"dirty, allocated":           {0, false, 1, data},
		"dirty, zero":                {stateZero, false, 1, zero},
		"dirty, hole that reads 0":   {stateHole | stateZero, false, 1, zero},
		"dirty, hole":                {stateHole, false, 1, data},
		"unknown dirty bit":          {0, false, 1 << 5, data},
		"dirty and unknown bit":      {stateZero, false, 1 | 1<<5, zero},
		"dirty, zero, unknown bit":   {stateZero | 1<<2, false, 1, data},
	} {
		if got := classify(c.alloc, c.full, c.dirty); got != c.want {
			t.Errorf("%s: got %d, want %d", name, got, c.want)
		}
	}
}

// status makes a reply of pairs of length and flags.
func status(words ...uint32) []nbdconn.Status {
	s := []nbdconn.Status{}
	for i := 0; i < len(words); i += 2 {
		s = append(s, nbdconn.Status{Length: words[i], Flags: words[i+1]})
	}
	return s
}

func TestMerge(t *testing.T) {
	const z = stateHole | stateZero
	for name, c := range map[string]struct {
		alloc, dirty []nbdconn.Status
		limit        int64
		want         []run
		covered      int64
	}{
		"full": {
			alloc: status(10, 0, 20, z), limit: 30,
			want: []run{{10, data}, {20, zero}}, covered: 30,
		},
		"full, reply ends early": {
			alloc: status(10, 0), limit: 30,
			want: []run{{10, data}}, covered: 10,
		},
		"full, reply goes beyond": {
			alloc: status(10, 0, 100, z), limit: 30,
			want: []run{{10, data}, {20, zero}}, covered: 30,
		},
		"neighbours join": {
			alloc: status(10, 0, 10, stateHole, 10, z, 10, stateZero), limit: 40,
			want: []run{{20, data}, {20, zero}}, covered: 40,
		},
		"splits differ": {
			alloc: status(15, 0, 15, z, 10, 0),
			dirty: status(10, 1, 10, 0, 20, 1), limit: 40,
			want: []run{{10, data}, {10, unchanged}, {10, zero}, {10, data}}, covered: 40,
		},
		"allocation ends early": {
			alloc: status(15, 0),
			dirty: status(40, 1), limit: 40,
			want: []run{{15, data}}, covered: 15,
		},
		"bitmap ends early": {
			alloc: status(40, 0),
			dirty: status(5, 1, 5, 0), limit: 40,
			want: []run{{5, data}, {5, unchanged}}, covered: 10,
		},
		"both go beyond": {
			alloc: status(1<<31, z),
			dirty: status(1<<32-1, 1), limit: 40,
			want: []run{{40, zero}}, covered: 40,
		},
		"dirty zeros are carried": {
			alloc: status(40, z),
			dirty: status(10, 0, 30, 1), limit: 40,
			want: []run{{10, unchanged}, {30, zero}}, covered: 40,
		},
		"empty bitmap reply covers nothing": {
			alloc: status(40, 0), dirty: status(), limit: 40,
		},
	} {
		got, covered := merge(nil, c.alloc, c.dirty, c.limit)
		if covered != c.covered || !cmp.Equal(got, c.want, cmp.AllowUnexported(run{})) {
			t.Errorf("%s: got %v covering %d, want %v covering %d", name, got, covered, c.want, c.covered)
		}
	}
}

func TestTrim(t *testing.T) {
	const c, d = 0, 1 // clean, dirty
	list := func(pairs ...uint32) (l []nbdconn.Status) {
		for i := 0; i < len(pairs); i += 2 {
			l = append(l, nbdconn.Status{Length: pairs[i], Flags: pairs[i+1]})
		}
		return l
	}
	for name, x := range map[string]struct {
		status      []nbdconn.Status
		limit       int64
		clean, span int64
		rest        []nbdconn.Status
	}{
		"nothing changed":          {list(100, c), 100, 100, 0, nil},
		"less than was asked for":  {list(60, c), 100, 60, 0, nil},
		"more than was asked for":  {list(160, c), 100, 100, 0, nil},
		"everything changed":       {list(100, d), 100, 0, 100, list(100, d)},
		"changed in the middle":    {list(10, c, 20, d, 70, c), 100, 10, 20, list(20, d, 70, c)},
		"two with a gap":           {list(10, c, 20, d, 30, c, 5, d, 35, c), 100, 10, 55, list(20, d, 30, c, 5, d, 35, c)},
		"changed beyond the limit": {list(100, c, 20, d), 100, 100, 0, nil},
		"changed over the limit":   {list(90, c, 20, d), 100, 90, 10, list(20, d)},
		"another bit":              {list(10, c, 20, 4), 100, 10, 20, list(20, 4)},
	} {
		clean, span, rest := trim(x.status, x.limit)
		if clean != x.clean || span != x.span || !slices.Equal(rest, x.rest) {
			t.Errorf("%s: %d, %d, %v", name, clean, span, rest)
		}
	}
}
