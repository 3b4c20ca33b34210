package service

import "time"

// What a pace remembers: so many moments, so far apart.
const (
	paceMoments = 10
	paceApart   = time.Second
)

// pace is how fast a count grows, over the last seconds. The zero value is ready.
type pace struct {
	moments []moment // the newest last
	now     int64
}

type moment struct {
	at    time.Time
	count int64
}

// observe tells that the count was n at a time. A count that shrinks starts anew.
func (p *pace) observe(at time.Time, n int64) {
	if n < p.now {
		*p = pace{}
	}
	p.now = n
	if k := len(p.moments); k == 0 || at.Sub(p.moments[k-1].at) >= paceApart {
		p.moments = append(p.moments[max(0, k-paceMoments+1):], moment{at, n})
	}
}

// perSecond is the pace at a time, which falls while nothing comes; 0 while unknown.
func (p *pace) perSecond(at time.Time) float64 {
	if len(p.moments) == 0 {
		return 0
	}
	first := p.moments[0]
	if took := at.Sub(first.at); took >= paceApart/4 {
		return float64(p.now-first.count) / took.Seconds()
	}
	return 0
}
