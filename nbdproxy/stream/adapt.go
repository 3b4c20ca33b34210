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
	busy = 0.6
	idle = 0.3
	// margin is by how much a rung must have been slower to be left again.
	margin = 1.05
	// pause is how long a rung that proved slower is not tried again; it doubles
	// each time, up to maxPause.
	pause    = 2 * time.Second
	maxPause = time.Minute
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
// stream up and descends while it is not, and goes back where a step made matters
// worse: the link may have waited for a receiver that shares our processors, or the
// compressor may be slower than what it saves. It is a plain value: next is a pure
// function of it and of a window.
type adapter struct {
	rung rung
	came int // the step that led to rung: 1, -1, or 0 once it has proved itself

	pace  [rungs]float64 // bytes per second written at each rung when last seen
	ratio [rungs]float64 // kept / tried at each rung when last seen; 0 while unknown

	clock   time.Duration // of all windows
	waits   [2]time.Duration
	notTill [2]time.Duration // when the next step down, or up, may be tried
}

// next returns the adapter for the time after w.
func (a adapter) next(w window) adapter {
	a.clock += w.elapsed
	// What does not compress says nothing about how well compressing goes.
	if w.tried < w.raw/8 || w.elapsed <= 0 || w.raw == 0 {
		return a
	}
	was := rung(int(a.rung) - a.came)
	worse := a.came != 0 && w.elapsed.Seconds() > margin*a.expected(was, w)
	a.pace[a.rung] = float64(w.wire) / w.elapsed.Seconds()
	a.ratio[a.rung] = float64(w.kept) / float64(w.tried)
	if worse {
		i := direction(a.came)
		a.waits[i] = min(max(2*a.waits[i], pause), maxPause)
		a.notTill[i] = a.clock + a.waits[i]
		a.rung, a.came = was, 0
		return a
	}
	if a.came != 0 {
		a.waits[direction(a.came)] = 0
		a.came = 0
	}
	switch {
	case w.stalled > busy && a.rung < rungs-1 && a.clock >= a.notTill[1]:
		a.rung, a.came = a.rung+1, 1
	case w.stalled < idle && a.rung > 0 && a.clock >= a.notTill[0]:
		a.rung, a.came = a.rung-1, -1
	}
	return a
}

// expected is how many seconds w would have taken at another rung, going by what
// was last seen there.
func (a *adapter) expected(r rung, w window) float64 {
	wire := float64(w.wire-w.kept) + float64(w.tried)*a.ratio[r]
	return wire / a.pace[r]
}

func direction(step int) int {
	if step > 0 {
		return 1
	}
	return 0
}
