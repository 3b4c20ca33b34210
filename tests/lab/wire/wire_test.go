package wire

import (
	"testing"
	"time"
)

// at is a time in milliseconds of a test's own clock.
func at(ms float64) time.Time {
	return time.Unix(1000, 0).Add(time.Duration(ms * float64(time.Millisecond)))
}

func TestShaperPlacesFrames(t *testing.T) {
	type in struct {
		now   float64 // ms
		bytes int
		want  float64 // ms; negative: lost
	}
	for _, c := range []struct {
		name string
		q    Quality
		in   []in
	}{
		{"no limits", Quality{}, []in{{0, 1500, 0}, {0, 1500, 0}, {5, 1500, 5}}},
		{"delay only", Quality{Delay: 10 * time.Millisecond}, []in{{0, 1500, 10}, {1, 1500, 11}}},
		{"rate makes frames queue", Quality{Rate: 8e6}, []in{{0, 1000, 1}, {0, 1000, 2}, {0.5, 1000, 3}, {10, 1000, 11}}},
		{"rate and delay add up", Quality{Rate: 8e6, Delay: 10 * time.Millisecond}, []in{{0, 1000, 11}, {0, 1000, 12}}},
		// At 80 Mbit/s the buffer is 50 ms; 400,000 bytes take 40 ms.
		{"a full buffer loses frames", Quality{Rate: 80e6}, []in{{0, 400e3, 40}, {0, 400e3, 80}, {0, 400e3, -1}, {31, 400e3, 120}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s shaper
			for i, f := range c.in {
				due, ok := s.admit(at(f.now), f.bytes, c.q)
				if !ok {
					if f.want >= 0 {
						t.Errorf("frame %d: lost, want it at %v ms", i, f.want)
					}
					continue
				}
				if d := due.Sub(at(f.want)).Abs(); f.want < 0 || d > time.Microsecond {
					t.Errorf("frame %d: comes out at %v, want %v ms", i, due.Sub(at(0)), f.want)
				}
			}
		})
	}
}

func TestFramesKeepTheirOrderWhenTheDelayShrinks(t *testing.T) {
	var s shaper
	first, _ := s.admit(at(0), 100, Quality{Delay: 50 * time.Millisecond})
	second, _ := s.admit(at(1), 100, Quality{})
	if second.Before(first) {
		t.Errorf("second frame comes out %v before the first", first.Sub(second))
	}
}

func TestImpossibleQualitiesAreRefused(t *testing.T) {
	var w Wire
	for _, q := range []Quality{{Rate: -1}, {Delay: -1}, {Delay: time.Hour}, {Loss: -0.1}, {Loss: 1.1}} {
		if err := w.Set(q); err == nil {
			t.Errorf("%+v was accepted", q)
		}
	}
}

func TestClosedQueueHandsOutWhatItHas(t *testing.T) {
	q := newQueue()
	q.put(frame{data: []byte("a")})
	q.close()
	if f, ok := q.take(); !ok || string(f.data) != "a" {
		t.Errorf("got %q, %v", f.data, ok)
	}
	if _, ok := q.take(); ok {
		t.Error("an empty closed queue handed out a frame")
	}
}

func TestQueueBoundsItsMemory(t *testing.T) {
	q := newQueue()
	big := make([]byte, maxQueued/4)
	for range 8 {
		q.put(frame{data: big})
	}
	if q.bytes > maxQueued {
		t.Errorf("queue holds %d bytes, limit %d", q.bytes, maxQueued)
	}
}
