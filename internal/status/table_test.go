package status

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mattn/go-runewidth"

	"vmsync/internal/api"
	"vmsync/internal/history"
	"vmsync/internal/schedule"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func fleet() []api.Machine {
	age, old, states, size := 75.0, 3*3600.0, 3, int64(5<<30)
	return []api.Machine{
		{Name: "vm1", Source: "hosta", Role: "replica", Age: &age, RPO: 1800, States: &states, Size: &size, Health: schedule.Healthy, Doing: api.Syncing,
			Last:    &history.Run{Outcome: history.Succeeded, Ended: noon.Add(-72 * time.Second), Changed: 5 << 20, Sent: 1 << 20, Transfer: 0.5},
			Running: &api.Running{Phase: "transfer", Done: 43, Total: 100, PerSecond: 12 << 20}},
		{Name: "vm\x1b2", Source: "hostb", RPO: 25 * 3600, Health: schedule.Broken, Doing: api.Retrying, Next: noon.Add(30 * time.Second),
			Last:  &history.Run{Outcome: history.Failed, Ended: noon.Add(-5 * time.Minute)},
			Error: &history.RunError{Message: "it is\nshut off"}},
		{Name: "web", Source: "hosta", Role: "replica", Age: &old, RPO: 9e9, States: &states, Size: &size, Health: api.Paused, Doing: api.Resting, Paused: &history.Pause{Reason: "roof work"},
			Last: &history.Run{Outcome: history.Unchanged, Ended: noon.Add(-3 * time.Hour)}},
	}
}

func TestMachinesAsATable(t *testing.T) {
	for width, want := range map[int]string{
		0: `machine  source  role     age / rpo  last run           changed     sent        rate  states     size  health  now
vm1      hosta   replica  75s / 30m  succeeded 72s ago  5.0 MiB  1.0 MiB  12.0 MiB/s       3  5.0 GiB  ok      syncing   transfer 43%
vm\x1b2  hostb   -          - / 25h  failed 5m ago            -        -           -       -        -  broken  retrying  again in 30s: it is shut off
web      hosta   replica     3h / -  unchanged 3h ago       0 B      0 B           -       3  5.0 GiB  paused  paused    roof work
`,
		82: `machine  role     age/rpo  last run     changed  sent   rate  states  size  health
vm1      replica  75s/30m  syncing 43%     5.0M  1.0M  12M/s       3  5.0G  ok
vm\x1b2  -          -/25h  failed 5m          -     -      -       -     -  broken
web      replica     3h/-  same 3h            0     0      -       3  5.0G  paused
`,
		80: `machine  age/rpo  last run     changed  sent   rate  states  size  health
vm1      75s/30m  syncing 43%     5.0M  1.0M  12M/s       3  5.0G  ok
vm\x1b2    -/25h  failed 5m          -     -      -       -     -  broken
web         3h/-  same 3h            0     0      -       3  5.0G  paused
`,
		60: `machine  age/rpo  last run     changed  states  size  health
vm1      75s/30m  syncing 43%     5.0M       3  5.0G  ok
vm\x1b2    -/25h  failed 5m          -       -     -  broken
web         3h/-  same 3h            0       3  5.0G  paused
`,
		30: `machine  age/rpo  health
vm1      75s/30m  ok
vm\x1b2    -/25h  broken
web         3h/-  paused
`,
	} {
		var b bytes.Buffer
		if err := Table(&b, fleet(), noon, Look{Width: width}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, b.String()); diff != "" {
			t.Errorf("%d columns: -want +got\n%s\n%s", width, diff, b.String())
		}
		for line := range strings.Lines(b.String()) {
			if w := runewidth.StringWidth(strings.TrimSuffix(line, "\n")); width > 0 && w > width {
				t.Errorf("%d columns where there are %d: %s", w, width, line)
			}
		}
	}
	var b bytes.Buffer
	if err := Table(&b, nil, noon, Look{}); err != nil || b.String() != "no machines are replicated\n" {
		t.Errorf("%q, %v", b.String(), err)
	}
}

func TestColoursOnlyRepeatWhatIsSaid(t *testing.T) {
	var plain, painted bytes.Buffer
	if err := Table(&plain, fleet(), noon, Look{Width: 100}); err != nil {
		t.Fatal(err)
	}
	if err := Table(&painted, fleet(), noon, Look{Width: 100, Colours: true}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"\x1b[32mok", "\x1b[31mbroken", "\x1b[2mpaused"} {
		if !strings.Contains(painted.String(), want) {
			t.Errorf("no %q in %q", want, painted.String())
		}
	}
	bare := painted.String()
	for _, code := range []string{"\x1b[32m", "\x1b[31m", "\x1b[33m", "\x1b[36m", "\x1b[2m", "\x1b[1m", "\x1b[0m"} {
		bare = strings.ReplaceAll(bare, code, "")
	}
	if strings.Contains(plain.String(), "\x1b") {
		t.Errorf("colours where there are none: %q", plain.String())
	}
	if diff := cmp.Diff(plain.String(), bare); diff != "" {
		t.Errorf("-plain +painted\n%s", diff)
	}
}
