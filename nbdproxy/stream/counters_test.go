package stream

import (
	"sync"
	"testing"

	"vmsync/nbdproxy/spec"
)

func TestTrafficIsCountedByCodec(t *testing.T) {
	var c counters
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				c.add(KindData, CodecNone, 10, 10)
				c.add(KindData, CodecS2, 20, 7)
				c.add(KindData, CodecZstd, 30, 5)
				c.add(KindData, CodecZstd, 30, 5)
				c.add(KindZero, CodecNone, 0, 0)
			}
		})
	}
	wg.Wait()
	want := spec.Traffic{
		Wire: 99, ZeroFrames: 800,
		None: spec.CodecTraffic{Frames: 800, Raw: 8000, Stored: 8000},
		S2:   spec.CodecTraffic{Frames: 800, Raw: 16000, Stored: 5600},
		Zstd: spec.CodecTraffic{Frames: 1600, Raw: 48000, Stored: 8000},
	}
	if got := c.traffic(99); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestMeterKnowsTheTotalWhenAllIsFound(t *testing.T) {
	m := Meter{Size: 1000}
	m.Find(Extent{Offset: 100, Length: 50})
	m.Find(Extent{Offset: 300, Length: 10})
	m.Handle(KindData, 50)
	if m.Found.Load() != 60 || m.Scanned.Load() != 310 || m.Total.Load() != 0 {
		t.Errorf("in the middle: found %d, scanned %d, total %d", m.Found.Load(), m.Scanned.Load(), m.Total.Load())
	}
	m.Handle(KindZero, 10)
	m.FoundAll()
	if m.Scanned.Load() != 1000 || m.Total.Load() != 60 || m.Done.Load() != 60 || m.Zero.Load() != 10 {
		t.Errorf("in the end: scanned %d, total %d, done %d, zero %d", m.Scanned.Load(), m.Total.Load(), m.Done.Load(), m.Zero.Load())
	}
}
