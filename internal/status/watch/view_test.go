package watch

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mattn/go-runewidth"

	"vmsync/internal/api"
	"vmsync/internal/schedule"
)

var update = flag.Bool("update", false, "write the screens of testdata anew")

// TestScreens holds screens against those in testdata.
func TestScreens(t *testing.T) {
	cut := Unreachable{noon.Add(12 * time.Second), "/run/vmsync/vmsync.sock: the service does not run; start it with: systemctl start vmsync"}
	for name, m := range map[string]Model{
		"80x24":         after(small(), Size{80, 24}),
		"40x24":         after(small(), Size{40, 24}),
		"120x40":        after(small(), Size{120, 40}, Key("down"), Key("down")),
		"200x50":        after(small(), Size{200, 50}),
		"80x10":         after(small(), Size{80, 10}),
		"details":       after(small(), Size{80, 24}, Key("down"), Key("down"), Key("enter")),
		"paused":        after(small(), Size{80, 24}, Key("down")),
		"help":          after(small(), Size{80, 24}, Key("?")),
		"filter":        after(small(), Size{80, 24}, Key("/"), Key("e"), Key("b")),
		"filtered":      after(small(), Size{80, 24}, Key("/"), Key("e"), Key("b"), Key("enter"), Key("s"), Key("s")),
		"nothing found": after(small(), Size{80, 24}, Key("/"), Key("z"), Key("enter")),
		"not reached":   after(small(), Size{80, 24}, Unreachable{noon, "gone"}, cut),
		"never reached": after(New(""), Size{80, 24}, cut),
		"one machine":   after(after(New("hosta/db1"), Size{80, 24}), Snapshot{noon, small().status}),
		"hundred":       after(large(100), Size{80, 24}, Key("end"), Key("up")),
		"none":          after(New(""), Size{80, 24}, Snapshot{noon, &api.Status{Version: "1.0"}}),
		"full store": after(New(""), Size{80, 10}, Snapshot{noon, &api.Status{Machines: []api.Machine{standing("db1", "hosta", time.Second, schedule.Healthy, api.Idle)},
			Stores: []api.Store{{Path: "/srv/replicas", Size: 1 << 40, Avail: 1 << 30}}}}),
	} {
		t.Run(name, func(t *testing.T) {
			lines := m.View()
			if len(lines) != m.height {
				t.Errorf("%d lines on a screen of %d", len(lines), m.height)
			}
			for _, l := range lines {
				if l.Width() > m.width {
					t.Errorf("%d columns: %q", l.Width(), l.Plain())
				}
			}
			golden(t, name, text(lines))
		})
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", strings.ReplaceAll(name, " ", "-")+".txt")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// TestScreensOfEverySizeHaveTheirLines shows fleets on screens from none to large.
func TestScreensOfEverySizeHaveTheirLines(t *testing.T) {
	for _, m := range []Model{small(), large(100), after(small(), Key("enter")), after(small(), Key("?")), New("")} {
		for width := 0; width < 130; width += 7 {
			for height := 0; height < 45; height += 4 {
				lines := after(m, Size{width, height}).View()
				if width > 0 && len(lines) != height && height > 0 {
					t.Fatalf("%dx%d: %d lines", width, height, len(lines))
				}
				for _, l := range lines {
					if runewidth.StringWidth(l.Plain()) > width {
						t.Fatalf("%dx%d: %q", width, height, l.Plain())
					}
				}
			}
		}
	}
}
