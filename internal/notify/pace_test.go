package notify

import (
	"slices"
	"testing"
	"time"
)

func TestPaceGathersMoreWhileThereIsMore(t *testing.T) {
	var p pace
	now := began
	for _, c := range []struct {
		name  string
		after time.Duration // that the first news came, since the last message
		want  time.Duration // until it is sent
	}{
		{"the first waits for others", 0, settle},
		{"the next comes at once", 0, firstGap},
		{"and the next", time.Second, 2*firstGap - time.Second},
		{"and the next", 0, 4 * firstGap},
		{"and the next", 0, 8 * firstGap},
		{"no longer than the last gap", 0, lastGap},
		{"no longer than the last gap", lastGap - time.Second, settle},
		{"it was quiet for long", time.Hour, settle},
		{"it begins anew", 0, firstGap},
		{"it was just quiet", 2 * firstGap, settle},
	} {
		came := now.Add(c.after)
		at := p.next(came)
		if got := at.Sub(came); got != c.want {
			t.Errorf("%s: sent after %s, want %s", c.name, got, c.want)
		}
		p, now = p.sent(at), at
	}
}

func TestPaceOfTryingAgain(t *testing.T) {
	now := began
	p := pace{}.sent(now)
	var pauses []time.Duration
	for range 9 {
		next, giveUp := p.failed(now, false)
		if giveUp {
			t.Fatal("given up although nobody has refused it")
		}
		pauses = append(pauses, next.next(began).Sub(now))
		p, now = next, next.next(began)
	}
	s := time.Second
	if want := []time.Duration{10 * s, 20 * s, 40 * s, 80 * s, 160 * s, 320 * s, 600 * s, 600 * s, 600 * s}; !slices.Equal(pauses, want) {
		t.Errorf("%v", pauses)
	}
	for i := range 2 * maxRefusals {
		next, giveUp := p.failed(now, true)
		if giveUp != ((i+1)%maxRefusals == 0) {
			t.Errorf("refusal %d: given up %v", i+1, giveUp)
		}
		p = next
	}
	p, _ = p.failed(now, true)
	p, _ = p.failed(now, false)
	for range maxRefusals - 1 {
		next, giveUp := p.failed(now, true)
		if giveUp {
			t.Error("refusals that are not in a row are counted")
		}
		p = next
	}
	for range 100 {
		p, _ = p.failed(now, false)
	}
	if got := p.free.Sub(now); got != lastPause {
		t.Errorf("at last after %s", got)
	}
}
