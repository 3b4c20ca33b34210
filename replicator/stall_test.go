package replicator

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestTransferThatStandsStillIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, s, stop := watchStall(t.Context(), "vm1", 10*time.Minute)
		defer stop()
		told := 0
		sent := s.over(sourceSide, func(Progress) { told++ })
		written := s.over(targetSide, func(Progress) { told++ })
		for i := range 60 { // each end by itself is slower than the limit
			time.Sleep(6 * time.Minute)
			if i%2 == 0 {
				sent(Progress{Disk: "vda", Done: int64(i + 1)})
			} else {
				written(Progress{Disk: "vda", Done: int64(i)})
			}
		}
		if ctx.Err() != nil {
			t.Fatal("a slow transfer was given up")
		}
		for range 11 { // it goes on telling, and always the same
			time.Sleep(time.Minute)
			sent(Progress{Disk: "vda", Done: 59})
			written(Progress{Disk: "vda", Done: 59})
		}
		err := context.Cause(ctx)
		if KindOf(err) != KindStalled || !strings.Contains(err.Error(), "vm1") || !strings.Contains(err.Error(), "10m") {
			t.Errorf("%v", err)
		}
		if told != 60+22 {
			t.Errorf("told %d times", told)
		}
	})
}
