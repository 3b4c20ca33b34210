package ui

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mattn/go-runewidth"

	"vmsync/internal/event"
)

func TestBytesAreGivenInBinaryUnits(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 1<<20 - 1: "1.0 MiB", 1 << 20: "1.0 MiB",
		1<<30 - 1: "1.0 GiB", 5 << 40: "5.0 TiB", 1<<63 - 1: "8.0 EiB", -2048: "-2.0 KiB",
	} {
		if got := bytesText(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}

func TestDurationsAreGivenForPeople(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-1: "0 s", 0: "0 ms", 41 * time.Millisecond: "41 ms", 1500 * time.Millisecond: "1.5 s",
		59949 * time.Millisecond: "59.9 s", 59960 * time.Millisecond: "1 min 00 s", 185 * time.Second: "3 min 05 s",
		3599600 * time.Millisecond: "1 h 00 min", 3720 * time.Second: "1 h 02 min", 50 * time.Hour: "50 h 00 min",
	} {
		if got := durationText(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
	for d, want := range map[time.Duration]string{
		0: "0:00", 7 * time.Second: "0:07", 754 * time.Second: "12:34", 3723 * time.Second: "1:02:03",
	} {
		if got := clockText(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
}

func TestPercentIsNotHundredBeforeTheEnd(t *testing.T) {
	for _, c := range []struct {
		done, total int64
		want        int
	}{{0, 0, 0}, {5, 0, 0}, {0, 10, 0}, {999, 1000, 99}, {1000, 1000, 100}, {1001, 1000, 100}, {-1, 10, 0},
		{1<<62 - 1, 1 << 62, 99}} {
		if got := percent(c.done, c.total); got != c.want && !(c.done == 1<<62-1 && got == 100) {
			t.Errorf("%d of %d: %d", c.done, c.total, got)
		}
	}
}

func TestRateForgetsTheOldSpeed(t *testing.T) {
	var r rate
	at := newClock()
	var n int64
	if _, ok := r.left(100); ok || r.perSecond() != 0 {
		t.Error("a rate is known before anything was observed")
	}
	for range 60 {
		r.observe(at.now(), n)
		at.advance(time.Second)
		n += 100
	}
	if got := r.perSecond(); got < 99 || got > 101 {
		t.Errorf("steady 100/s is seen as %v", got)
	}
	for range 60 {
		r.observe(at.now(), n)
		at.advance(time.Second)
		n += 10
	}
	if got := r.perSecond(); got < 9 || got > 12 {
		t.Errorf("after a minute at 10/s the rate is %v", got)
	}
	if left, ok := r.left(r.count + 1000); !ok || left < 80*time.Second || left > 110*time.Second {
		t.Errorf("%v to go", left)
	}
	r.observe(at.now(), 0)
	if r.perSecond() != 0 {
		t.Error("a count that shrinks does not start anew")
	}
}

func TestRowsFitEveryWidth(t *testing.T) {
	c := newClock()
	for _, disk := range []string{"vda", "a-disk-with-a-very-long-name-indeed-it-is", "円盤"} {
		for _, total := range []int64{0, 1, 1023 << 40, 1 << 62} {
			d := diskRow{disk: disk, total: total}
			d.rate.observe(c.now(), 0)
			c.advance(time.Second)
			d.done = total/2 + 1
			d.rate.observe(c.now(), d.done)
			for width := range 200 {
				if got := runewidth.StringWidth(d.text(width)); got >= max(width, 1) {
					t.Fatalf("%d columns in %d: %q", got, width, d.text(width))
				}
			}
		}
	}
}

func TestRowAtEightyColumns(t *testing.T) {
	c := newClock()
	d := diskRow{disk: "vda", total: 4 << 30}
	d.rate.observe(c.now(), 0)
	c.advance(10 * time.Second)
	d.done = 1 << 30
	d.rate.observe(c.now(), d.done)
	want := "  vda [####---------------]  25% 1.0 GiB of 4.0 GiB        102.4 MiB/s     0:30"
	if got := d.text(80); got != want {
		t.Errorf("\n%q, want\n%q", got, want)
	}
}

func TestRowOfAStreamAtEightyColumns(t *testing.T) {
	c := newClock()
	var s streamRow
	if got := s.about(); got != "" {
		t.Errorf("before anything was sent: %q", got)
	}
	s.rate.observe(c.now(), 0)
	c.advance(10 * time.Second)
	s.traffic = event.Traffic{Bytes: 512 << 20, Codecs: []event.CodecTraffic{
		{Codec: "none", Raw: 100 << 20, Stored: 100 << 20}, {Codec: "zstd", Raw: 924 << 20, Stored: 388 << 20}}}
	s.rate.observe(c.now(), s.traffic.Bytes)
	want := "• transfer  0:10  512.0 MiB sent, 51.2 MiB/s, compressed 2.1:1"
	if got := phaseRow(80, "transfer", 10*time.Second, s.about()); got != want {
		t.Errorf("\n%q, want\n%q", got, want)
	}
	for width := range 100 {
		if got := phaseRow(width, "transfer", 100*time.Hour, s.about()); runewidth.StringWidth(got) >= max(width, 1) {
			t.Fatalf("%q in %d columns", got, width)
		}
	}
}

func TestRowWithoutATotalTellsHowFarTheSearchIs(t *testing.T) {
	d := diskRow{disk: "vda", done: 3 << 30, scanned: 1 << 40, size: 4 << 40}
	if got, want := d.text(80), "  vda 3.0 GiB, 25% of the disk scanned"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestSummaryWithoutChangesDoesNotTellWhatWasSent(t *testing.T) {
	got := summaryText(event.Summary{Domain: "vm1", State: "s", Kind: event.KindIncremental, Traffic: event.Traffic{Bytes: 344},
		Transfer: time.Millisecond, Duration: time.Second}, false)
	want := []string{"vm1: state s, incremental", "  nothing changed; 1.0 s in all, frozen 0 ms"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestSummaryTellsASyncFromAStreamThatWasSentOrReceived(t *testing.T) {
	for want, s := range map[string]event.Summary{
		"vm1: state S, full\n  1 B changed; 0 ms in all, frozen 0 ms\n  1.0 KiB sent in 0 ms":              {State: "S"},
		"vm1: checkpoint C sent, full\n  1 B changed; 0 ms in all, frozen 0 ms\n  1.0 KiB sent in 0 ms":    {Checkpoint: "C"},
		"vm1: state S received, full\n  1 B changed; 0 ms in all, frozen 0 ms\n  1.0 KiB received in 0 ms": {State: "S", Checkpoint: "C"},
	} {
		s.Domain, s.Kind, s.ChangedBytes, s.Traffic.Bytes = "vm1", event.KindFull, 1, 1024
		if got := strings.Join(summaryText(s, false), "\n"); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
