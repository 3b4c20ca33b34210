package stream

import (
	"testing"
	"time"
)

// machine is a sender and a link as far as an adapter sees them: what each rung makes
// of a byte, how many bytes per second the sender gets through at it, and how many the
// link takes.
type machine struct {
	ratio  [rungs]float64
	encode [rungs]float64
	link   float64
	share  float64 // of the payload that compresses
}

// files are programs and documents on one processor.
func files(link float64) machine {
	return machine{
		ratio:  [rungs]float64{1, 0.55, 0.42, 0.39, 0.37},
		encode: [rungs]float64{2e9, 800e6, 320e6, 180e6, 90e6},
		link:   link, share: 1,
	}
}

// window is what an adapter sees of 200 ms at a rung.
func (m machine) window(r rung) window {
	const t = 200 * time.Millisecond
	cost := m.share*m.ratio[r] + 1 - m.share // bytes of stream for one of payload
	encoder := 1 / (m.share/m.encode[r] + (1-m.share)/m.encode[0])
	link := m.link / cost
	raw := min(encoder, link) * t.Seconds()
	w := window{elapsed: t, raw: int64(raw), wire: int64(raw * cost), tried: int64(raw * m.share), kept: int64(raw * m.share * m.ratio[r])}
	if link < encoder {
		w.stalled = 1 - 0.5*link/encoder
	}
	return w
}

// after runs n windows and returns where the adapter is most of the last half.
func after(a adapter, m machine, n int) (adapter, rung) {
	var at [rungs]int
	for i := range n {
		if i >= n/2 {
			at[a.rung]++
		}
		a = a.next(m.window(a.rung))
	}
	most := rung(0)
	for r := range rungs {
		if at[r] > at[most] {
			most = r
		}
	}
	return a, most
}

func TestAdapterFindsTheBestRung(t *testing.T) {
	slowEncoder := files(100e6)
	for r := range slowEncoder.encode {
		slowEncoder.encode[r] /= 8
	}
	incompressible := files(10e6)
	incompressible.share = 0.05
	for name, c := range map[string]struct {
		m    machine
		want rung
	}{
		"a link faster than any encoder":  {files(10e9), rungNone},
		"ten gigabits":                    {files(1.2e9), rungNone},
		"a gigabit":                       {files(115e6), rungZstdFastest},
		"half a gigabit":                  {files(60e6), rungZstdDefault},
		"a hundred megabits":              {files(12e6), rungZstdBetter},
		"a gigabit and a slow processor":  {slowEncoder, rungNone},
		"data of which little compresses": {incompressible, rungZstdFastest}, // where it began
	} {
		_, got := after(adapter{rung: rungZstdFastest}, c.m, 200)
		if got != c.want {
			t.Errorf("%s: rung %d, want %d", name, got, c.want)
		}
	}
}

func TestAdapterFollowsALinkThatChanges(t *testing.T) {
	a, got := after(adapter{rung: rungZstdFastest}, files(10e9), 50)
	if got != rungNone {
		t.Fatalf("fast link: rung %d", got)
	}
	if a, got = after(a, files(12e6), 200); got != rungZstdBetter {
		t.Fatalf("slow link: rung %d", got)
	}
	if _, got = after(a, files(10e9), 200); got != rungNone {
		t.Fatalf("fast link again: rung %d", got)
	}
}

// A receiver that shares our processors makes the link look slow.
func TestAdapterLeavesARungThatMakesMattersWorse(t *testing.T) {
	m := files(10e9)
	for r := range m.encode {
		m.encode[r] /= 4
	}
	a := adapter{rung: rungNone}
	worst := 0
	for range 300 {
		w := m.window(a.rung)
		w.stalled = 0.9
		if a.rung != rungNone {
			worst++
		}
		a = a.next(w)
	}
	if worst > 15 {
		t.Errorf("%d of 300 windows at a rung that is slower", worst)
	}
}

func TestAdapterLearnsNothingFromLittle(t *testing.T) {
	if (&window{elapsed: 50 * time.Millisecond, raw: 1 << 30}).full() || (&window{elapsed: 200 * time.Millisecond, raw: 1000}).full() {
		t.Error("a window counts too early")
	}
	if !(&window{elapsed: time.Second, raw: 1000}).full() {
		t.Error("a window of a second never counts")
	}
	a := adapter{rung: rungS2}
	for _, w := range []window{{}, {elapsed: time.Second}, {elapsed: time.Second, raw: 1 << 20, wire: 1 << 20, stalled: 1}} {
		if got := a.next(w); got.rung != rungS2 {
			t.Errorf("%+v led to rung %d", w, got.rung)
		}
	}
}

// Content that is harder to read or compress than that of the window before does not
// look like a step in the wrong direction.
func TestAdapterIsNotMisledByContent(t *testing.T) {
	const mib = 1 << 20
	a := adapter{rung: rungZstdFastest}
	for _, w := range []window{
		{elapsed: 100 * time.Millisecond, raw: 40 * mib, wire: 10 * mib, tried: 40 * mib, kept: 10 * mib},
		{elapsed: 100 * time.Millisecond, raw: 30 * mib, wire: 25 * mib, tried: 30 * mib, kept: 25 * mib},
		{elapsed: 100 * time.Millisecond, raw: 25 * mib, wire: 25 * mib, tried: 25 * mib, kept: 25 * mib},
	} {
		a = a.next(w)
	}
	if a.rung != rungNone {
		t.Errorf("rung %d after windows in which the link never held anything up", a.rung)
	}
}

// A compressor that just cannot fill the link is better than a link that is too slow for what
// it leaves away. But links change.
func TestAdapterKnowsTheLink(t *testing.T) {
	const mib = 1 << 20
	bound := window{elapsed: 100 * time.Millisecond, stalled: 0.8, raw: 12 * mib, wire: 12 * mib}
	fast := window{elapsed: 100 * time.Millisecond, raw: 20 * mib, wire: 10 * mib, tried: 20 * mib, kept: 10 * mib}
	a := adapter{rung: rungS2}.next(bound)
	for range 30 {
		if a = a.next(fast); a.rung != rungS2 {
			t.Fatalf("rung %d, although the link takes 12 MiB and compressed goes through 20", a.rung)
		}
	}
	for range int(linkAge/fast.elapsed) + 1 {
		if a = a.next(fast); a.rung != rungS2 {
			return
		}
	}
	t.Error("what the link took once is believed for ever")
}

// What comes just after a step was compressed before it.
func TestAdapterLetsAStepSettle(t *testing.T) {
	const mib = 1 << 20
	bound := window{elapsed: 100 * time.Millisecond, stalled: 0.8, raw: 4 * mib, wire: 4 * mib, tried: 4 * mib, kept: 4 * mib}
	a := adapter{rung: rungNone}.next(bound)
	if a.rung != rungS2 {
		t.Fatalf("rung %d", a.rung)
	}
	for range 2 { // 8 MiB
		if a = a.next(bound); a.rung != rungS2 {
			t.Fatal("the step was judged by what had been compressed before it")
		}
	}
	if a = a.next(bound); a.rung != rungNone {
		t.Error("a step that brought nothing was not taken back")
	}
}
