package store

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestAddressesAreSplit(t *testing.T) {
	for address, want := range map[string][2]string{
		"vm1":                       {"vm1", Latest},
		"vm1@latest":                {"vm1", Latest},
		"vm1@2026-11-21T070301Z":    {"vm1", "2026-11-21T070301Z"},
		"vm1@vmsync-3f2a9c1b-7":     {"vm1", "vmsync-3f2a9c1b-7"},
		"root@vm1@latest":           {"root@vm1", Latest},
		"a machine with blanks@x":   {"a machine with blanks", "x"},
		"vm1@2026-11-21T070301Z-12": {"vm1", "2026-11-21T070301Z-12"},
	} {
		domain, state, err := ParseAddress(address)
		if err != nil || domain != want[0] || state != want[1] {
			t.Errorf("%q: %q, %q, %v", address, domain, state, err)
		}
	}
	for _, address := range []string{"", "@", "vm1@", "@latest", "../vm1@latest", "a/b", "..@latest", "vm1\x00", "a\nb@latest"} {
		if domain, state, err := ParseAddress(address); err == nil {
			t.Errorf("%q: accepted as %q, %q", address, domain, state)
		}
	}
}

// held is a manifest with states of these generations, one a minute from 07:00 on.
func held(generations ...int64) *Manifest {
	m := sample()
	m.States, m.Images, m.Run, m.Step, m.Staged = nil, nil, nil, nil, nil
	start := time.Date(2026, 11, 21, 7, 0, 0, 0, time.UTC)
	for i, g := range generations {
		s := sample().States[0]
		s.Disks = slices.Clone(s.Disks)
		s.Time = start.Add(time.Duration(i) * time.Minute)
		s.Generation, s.Checkpoint, s.DomainXML = g, fmt.Sprintf("vmsync-3f2a9c1b-%d", g), XMLName(g)
		s.NVRAM, s.TPM, s.SHA256 = "", "", nil
		s.ID = m.StateID(s.Time, g)
		s.Disks[0].Image = ImageName("vda", g)
		m.Images = append(m.Images, Image{Name: s.Disks[0].Image, Disk: "vda", Size: s.Disks[0].Size})
		m.States = append(m.States, s)
		m.LastGeneration = g
	}
	return m
}

func TestStatesAreFound(t *testing.T) {
	m := held(7, 8, 9, 20, 21)
	m.States[2].Time = m.States[1].Time // 8 and 9 are of one second
	m.States[2].ID = m.States[1].ID + "-9"
	for name, want := range map[string]int64{
		Latest:                 21,
		"2026-11-21T070000Z":   7,
		"2026-11-21T070100Z":   8, // though 9's id begins with it
		"2026-11-21T070100Z-9": 9,
		"2026-11-21T0703":      20,
		"2026-11-21T070400":    21,
		"2026-11-21T070100Z-":  9,
		"vmsync-3f2a9c1b-7":    7,
		"vmsync-3f2a9c1b-21":   21,
	} {
		s, err := m.Find(name)
		if err != nil {
			t.Errorf("%q: %v", name, err)
		} else if s.Generation != want {
			t.Errorf("%q: found %d", name, s.Generation)
		}
	}
	if s, _ := m.Find(Latest); s != m.Head() {
		t.Error("what is found is a copy")
	}
}

func TestWholeNamesAreNoPrefixes(t *testing.T) {
	m := held(20)
	m.States[0].ID += "-20"
	for _, name := range []string{"vmsync-3f2a9c1b-2", "2026-11-21T070000Z", "2026-11-21T070000Z-2"} {
		if s, err := m.Find(name); !errors.Is(err, ErrNoState) {
			t.Errorf("%q: %v, %v", name, s, err)
		}
	}
}

func TestStatesThatAreNotFoundAreTypedErrors(t *testing.T) {
	for _, c := range []struct {
		name string
		m    *Manifest
		want error
		text string
	}{
		{Latest, held(), ErrNoState, "vm1 holds no state yet"},
		{"x", held(), ErrNoState, "vm1 holds no state yet"},
		{"x", held(7, 8), ErrNoState, `vm1 has no "x", but 2026-11-21T070100Z, 2026-11-21T070000Z`},
		{"", held(7), ErrNoState, "2026-11-21T070000Z"},
		{"7", held(7), ErrNoState, "2026-11-21T070000Z"}, // a generation alone is no name
		{"x", held(1, 2, 3, 4, 5, 6, 7), ErrNoState, "2026-11-21T070600Z, 2026-11-21T070500Z, 2026-11-21T070400Z, 2026-11-21T070300Z, 2026-11-21T070200Z and 2 older"},
		{"2026-11", held(7, 8), ErrAmbiguous, `"2026-11" can be any of vm1's 2026-11-21T070100Z, 2026-11-21T070000Z`},
		{"vmsync-3f2a9c1b-", held(7, 8), ErrAmbiguous, "2026-11-21T070100Z, 2026-11-21T070000Z"},
		{"2", held(1, 2, 3, 4, 5, 6, 7), ErrAmbiguous, "and 2 older"},
	} {
		s, err := c.m.Find(c.name)
		if !errors.Is(err, c.want) {
			t.Errorf("%q: %v, %v", c.name, s, err)
		} else if !strings.Contains(err.Error(), c.text) {
			t.Errorf("%q: %q does not say %q", c.name, err, c.text)
		}
	}
}
