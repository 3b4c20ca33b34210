package source

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vmsync/nbdproxy/spec"
	"vmsync/replicator"
)

const (
	mi = int64(1) << 20
	gi = int64(1) << 30
)

// roomAt has seen so much free and used at so many milliseconds.
func roomAt(total, size int64, at ...[3]int64) *room {
	r := &room{dir: "/", files: []scratchFile{{disk: "vda", path: "/img/a.scratch", size: size}}}
	start := time.Now()
	for _, s := range at {
		r.files[0].used = s[2]
		r.add(sample{at: start.Add(time.Duration(s[0]) * time.Millisecond), total: total, free: s[1], used: s[2]})
	}
	return r
}

func TestReserveOfScratchSpace(t *testing.T) {
	for _, c := range []struct {
		name string
		r    *room
		want int64
	}{
		{"small file system", roomAt(gi, 100*gi, [3]int64{0, gi, 0}), 64 * mi},
		{"two percent of a larger one", roomAt(50*gi, 100*gi, [3]int64{0, gi, 0}), gi},
		{"of a huge one no more than some", roomAt(9000*gi, 100*gi, [3]int64{0, gi, 0}), 2 * gi},
		{"no more than the scratch files can take", roomAt(50*gi, 300*mi, [3]int64{0, gi, 0}), 300 * mi},
		{"less when they have taken some", roomAt(50*gi, 300*mi, [3]int64{0, gi, 0}, [3]int64{500, gi, 200 * mi}), 100 * mi},
		{"but never less than the least", roomAt(50*gi, 300*mi, [3]int64{0, gi, 0}, [3]int64{500, gi, 290 * mi}), 64 * mi},
		{"three times what is written fast", roomAt(gi, 100*gi, [3]int64{0, gi, 0}, [3]int64{500, gi - 100*mi, 100 * mi}), 300 * mi},
		{"whoever writes it", roomAt(gi, 100*gi, [3]int64{0, gi, 0}, [3]int64{500, gi - 100*mi, 0}), 300 * mi},
		{"written as others delete", roomAt(gi, 100*gi, [3]int64{0, gi / 2, 0}, [3]int64{500, gi, 100 * mi}), 300 * mi},
		{"not what was written long ago", roomAt(gi, 100*gi, [3]int64{0, gi, 0}, [3]int64{500, gi - 100*mi, 100 * mi},
			[3]int64{2600, gi - 101*mi, 101 * mi}), 64 * mi},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.r.reserve(); got != c.want {
				t.Errorf("%d MiB, want %d", got/mi, c.want/mi)
			}
		})
	}
}

func TestScratchSpaceIsLowBelowItsReserve(t *testing.T) {
	for free, want := range map[int64]bool{64 * mi: false, 64*mi - 1: true} {
		if r := roomAt(gi, gi, [3]int64{0, free, 0}); r.low() != want {
			t.Errorf("%d bytes free: low is %v", free, !want)
		}
	}
}

func TestNeedOfScratchSpaceIsEstimated(t *testing.T) {
	r := roomAt(gi, gi, [3]int64{0, gi, 100 * mi})
	for done, want := range map[float64]int64{0: 100 * mi, 0.25: 400 * mi, 1: 100 * mi, 0.01: gi} {
		if got := r.needed(done); got != want {
			t.Errorf("after %v: %d MiB, want %d", done, got/mi, want/mi)
		}
	}
}

func TestPartThatIsDone(t *testing.T) {
	w := &watcher{progress: make(map[string]replicator.Progress)}
	if got := w.part(); got != 0 {
		t.Errorf("%v at the start", got)
	}
	w.note(spec.Progress{Disk: "vda", Size: 1000, Scanned: 500, Found: 200, Done: 100}) // of 400 probably
	w.note(spec.Progress{Disk: "vdb", Size: 1000, Scanned: 1000, Found: 400, Total: 400, Done: 100})
	if got := w.part(); got != 0.25 {
		t.Errorf("%v", got)
	}
}

func TestScratchFilesOfOneFileSystemAreOneRoom(t *testing.T) {
	dir := t.TempDir()
	sub := filepath.Join(dir, "sub")
	if err := os.Mkdir(sub, 0o700); err != nil {
		t.Fatal(err)
	}
	used := filepath.Join(sub, "b.scratch")
	if err := os.WriteFile(used, make([]byte, mi), 0o600); err != nil {
		t.Fatal(err)
	}
	rooms, err := roomsOf([]scratchFile{{disk: "vda", path: dir + "/a.scratch", size: gi}, {disk: "vdb", path: used, size: gi},
		{disk: "vdc", path: "/proc/c.scratch", size: mi}})
	if err != nil {
		t.Fatal(err)
	}
	if len(rooms) != 2 || len(rooms[0].files) != 2 || rooms[0].most() != 2*gi {
		t.Fatalf("%+v", rooms)
	}
	if err := rooms[0].measure(time.Now()); err != nil {
		t.Fatal(err)
	}
	if s := rooms[0].last(); s.free <= 0 || s.total < s.free {
		t.Errorf("%+v", s)
	}
	if got := mountPoint("/proc/self"); got != "/proc" {
		t.Errorf("mount point %q", got)
	}
	if _, err := roomsOf([]scratchFile{{path: "/no/such/folder/x"}}); err == nil || !strings.Contains(err.Error(), "/no/such/folder") {
		t.Errorf("missing folder: %v", err)
	}
}

func TestScratchErrorNamesDiskFileSystemAndNeed(t *testing.T) {
	r := roomAt(gi, gi, [3]int64{0, 50 * mi, 100 * mi})
	err := inspected().scratchFull(r, 0.25)
	got := replicator.AsError(err)
	if got.Kind != replicator.KindScratchFull || got.Domain != "web" || got.Disk != "vda" || got.Hint == "" {
		t.Errorf("%+v", got)
	}
	for _, want := range []string{"50 MiB are free", "file system at /,", "take 100 MiB after 25 %", "at least 400 MiB", "/img/a.scratch"} {
		if !strings.Contains(got.Err.Error(), want) {
			t.Errorf("%q lacks %q", got.Err, want)
		}
	}
}
