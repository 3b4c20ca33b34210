package stream

import "time"

// rung is how hard payloads are compressed, from not at all upwards.
type rung uint8

const (
	rungNone rung = iota
	rungS2
	rungZstdFastest
	rungZstdDefault
	rungZstdBetter
	rungs
)

// A rung is tried for at least so long and so much: less would be noise.
const (
	windowTime  = 100 * time.Millisecond
	windowBytes = 4 << 20 // payload, uncompressed
	windowLimit = time.Second
)

const (
	// A link that makes the connections wait for more than busy of the time is what
	// holds the stream up; one that makes them wait for less than idle is not.
	busy = 0.5
	idle = 0.3
	// gain is by how much faster than the rung below one must have been to stay: as fast
	// would be the same for more work.
	gain = 1.03
	// loss is by how much slower than the rung above one must have been to be left
	// again. It is more, for what is compared then is content of two kinds.
	loss = 1.05
	// pause is how long a rung that proved slower is not tried again; it doubles
	// each time, up to maxPause.
	pause    = 500 * time.Millisecond
	maxPause = time.Minute
	// After a step the connections are full of what was written before it, so what comes
	// then tells nothing until so many bytes were written, or so much time has passed.
	settleBytes = 8 << 20
	settleTime  = time.Second
	// linkAge is how long what a link took is believed to be what it takes.
	linkAge = 5 * time.Second
)

// window is what was seen of the stream for some time.
type window struct {
	elapsed time.Duration
	stalled float64 // the part of elapsed that a connection waited for its other end
	raw     int64   // payload bytes, uncompressed
	wire    int64   // the same as they were written
	tried   int64   // of raw, what looked compressible
	kept    int64   // tried as it was written
}

// full tells whether the window says enough.
func (w *window) full() bool {
	return w.elapsed >= windowLimit || w.elapsed >= windowTime && w.raw >= windowBytes
}

// adapter decides how hard to compress. It climbs while the link is what holds the
// stream up and descends while it is not, unless the link is known to be too slow for
// that. A step up that brought nothing is taken back: the link may have waited for a
// receiver that shares our processors, or the compressor may be slower than what it
// saves. So is a step down after which the link holds the stream up more than the
// compressor did. It is a plain value: next is a pure function of it and of a window.
type adapter struct {
	rung rung
	came int // the step that led to rung: 1, -1, or 0 once it has proved itself

	// What is left of the time after a step that tells nothing.
	settling struct {
		bytes int64
		time  time.Duration
	}

	// What was last seen at each rung.
	wire  [rungs]float64 // bytes written per second
	raw   [rungs]float64 // bytes of payload per second
	ratio [rungs]float64 // kept / tried; 0 while unknown

	link struct { // what it took when it last held the stream up
		rate float64 // bytes per second; 0 while unknown
		seen time.Duration
	}

	clock   time.Duration // of all windows
	waits   [2]time.Duration
	notTill [2]time.Duration // when the next step down, or up, may be tried
}

// next returns the adapter for the time after w.
func (a adapter) next(w window) adapter {
	a.clock += w.elapsed
	if a.settling.bytes > 0 && a.settling.time > 0 {
		a.settling.bytes -= w.wire
		a.settling.time -= w.elapsed
		return a
	}
	if w.elapsed <= 0 || w.raw == 0 {
		return a
	}
	a.seeLink(w)
	// What does not compress says nothing about how well compressing goes.
	if w.tried < w.raw/8 {
		return a
	}
	was := rung(int(a.rung) - a.came)
	worse := a.worse(was, w)
	a.see(w)
	switch {
	case worse:
		i := direction(a.came)
		a.waits[i] = min(max(2*a.waits[i], pause), maxPause)
		a.notTill[i] = a.clock + a.waits[i]
		a.step(was, 0)
		return a
	case a.came != 0:
		a.waits[direction(a.came)] = 0
		a.came = 0
	}
	switch {
	case w.stalled > busy && a.rung < rungs-1 && a.clock >= a.notTill[1]:
		a.step(a.rung+1, 1)
	case w.stalled < idle && a.rung > 0 && a.clock >= a.notTill[0] && !a.linkTooSlow(w):
		a.step(a.rung-1, -1)
	}
	return a
}

// worse tells whether w, the first window after a step from the rung was, shows that it
// was a step in the wrong direction.
func (a *adapter) worse(was rung, w window) bool {
	elapsed := w.elapsed.Seconds()
	switch a.came {
	case 1:
		// The link held the stream up there, so what it took says how long w would have
		// taken.
		return elapsed*gain > a.written(was, w)/a.wire[was]
	case -1:
		// There the compressor did.
		return w.stalled > busy && elapsed > loss*float64(w.raw)/a.raw[was]
	}
	return false
}

// written is how many bytes w would have become at a rung whose ratio is known.
func (a *adapter) written(r rung, w window) float64 {
	return float64(w.wire-w.kept) + float64(w.tried)*a.ratioAt(r)
}

// ratioAt is what a rung makes of a byte that looks compressible; 0 while unknown.
func (a *adapter) ratioAt(r rung) float64 {
	if r == rungNone {
		return 1
	}
	return a.ratio[r]
}

// see remembers what w shows of its rung.
func (a *adapter) see(w window) {
	elapsed := w.elapsed.Seconds()
	a.wire[a.rung] = float64(w.wire) / elapsed
	a.raw[a.rung] = float64(w.raw) / elapsed
	a.ratio[a.rung] = float64(w.kept) / float64(w.tried)
}

// seeLink remembers what w shows of the link: all of what it takes if that held the
// stream up, and more than was known if more went over it.
func (a *adapter) seeLink(w window) {
	rate := float64(w.wire) / w.elapsed.Seconds()
	if w.stalled > busy || a.link.rate > 0 && rate > a.link.rate {
		a.link.rate, a.link.seen = rate, a.clock
	}
}

// linkTooSlow tells whether the link, as far as it is known, would hold the stream up
// more at the rung below than the compressor does now.
func (a *adapter) linkTooSlow(w window) bool {
	below := a.rung - 1
	if a.link.rate == 0 || a.clock-a.link.seen > linkAge || a.ratioAt(below) == 0 {
		return false
	}
	return a.written(below, w)/a.link.rate > w.elapsed.Seconds()
}

// step goes to a rung.
func (a *adapter) step(to rung, came int) {
	a.rung, a.came = to, came
	a.settling.bytes, a.settling.time = settleBytes, settleTime
}

func direction(step int) int {
	if step > 0 {
		return 1
	}
	return 0
}
