package deadpeer

import (
	"testing"
	"time"
)

// TestSilenceOfAPeer looks at a peer as [Watch] does.
func TestSilenceOfAPeer(t *testing.T) {
	type stretch struct {
		looks       int
		owes, heard bool // at each look
	}
	busy, idle, asked := stretch{5, true, true}, stretch{60, false, false}, stretch{1, true, false}
	for name, c := range map[string]struct {
		is   []stretch
		dead bool
	}{
		"is heard all the time":       {[]stretch{{100, true, true}}, false},
		"owes nothing":                {[]stretch{idle}, false},
		"dies while it owes":          {[]stretch{busy, {29, true, false}}, true},
		"is away for a while":         {[]stretch{busy, {20, true, false}, busy, {20, true, false}, busy}, false},
		"takes nothing and is asked":  {[]stretch{busy, idle, asked, idle, asked, idle}, false},
		"gets something after a rest": {[]stretch{idle, asked, busy}, false},
		"dies after a rest":           {[]stretch{idle, {29, true, false}}, true},
	} {
		var d debt
		var lastHeard time.Duration
		now, dead := time.Now(), false
		for _, s := range c.is {
			for range s.looks {
				now, lastHeard = now.Add(period), lastHeard+period
				if s.heard {
					lastHeard = 0
				}
				dead = dead || d.silence(now, s.owes, lastHeard) > Limit
			}
		}
		if dead != c.dead {
			t.Errorf("a peer that %s: taken for dead: %v", name, dead)
		}
	}
}
