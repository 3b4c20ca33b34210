package replicator

import (
	"context"
	"errors"
	"sync"
	"time"
)

// stage is where members of a group wait for each other, in this order. Where members have
// to begin again all go back to stagePrepared.
type stage int

const (
	stagePlanned  stage = iota // it is known whether enough has changed
	stagePrepared              // the target is ready to receive
	stageReady                 // the source is ready to freeze
	stageFrozen                // the guest is frozen, as far as it is to be
	stageTaken                 // the checkpoint is made
	stageThawed                // the guest is thawed: the members go on by themselves
)

const (
	// patienceReady is how long members wait, with nobody frozen, for one that does not get
	// ready.
	patienceReady = 5 * time.Minute
	// patienceFrozen and patienceTaken are how long, from when the first guest is frozen,
	// a meeting waits for the others' freezes and checkpoints. They end before the guests
	// that are frozen thaw by themselves: who is late is left behind, so that the others'
	// states are of one instant all the same.
	patienceFrozen = LongestHold - 3*time.Second
	patienceTaken  = LongestHold - time.Second
	// patienceTogether is how much longer than usual a target that is ready waits for the
	// stream.
	patienceTogether = 24 * time.Hour
)

var errLeftBehind = errors.New("the other machines of the group could not wait any longer for this one")

// report is what a member comes to a stage with.
type report struct {
	enough bool // has changed for a new state; of stagePlanned
	again  bool // it has to begin again; of stageReady and stageTaken
	still  bool // it stood still; of stageThawed
}

// verdict is what comes of a stage, for all.
type verdict struct {
	skip  bool
	again bool
	still bool
}

// decide makes of what the members came to a stage with what holds for all. It is a
// pure function.
func decide(at stage, reports []report) verdict {
	v := verdict{skip: at == stagePlanned, still: at == stageThawed}
	for _, r := range reports {
		v.skip = v.skip && !r.enough // one that has changed takes all with it: a set is whole
		v.again = v.again || r.again
		v.still = v.still && r.still
	}
	return v
}

// next is the stage that follows one. It is a pure function.
func next(at stage, v verdict) stage {
	if v.again {
		return stagePrepared
	}
	return at + 1
}

// waits is how long a stage waits for those who are not there, from its first arrival
// on; 0 is without a limit. It is a pure function.
func waits(at stage, sinceFrozen time.Duration) time.Duration {
	switch at {
	case stagePlanned, stagePrepared, stageReady:
		return patienceReady
	case stageFrozen:
		return patienceFrozen
	case stageTaken:
		return max(patienceTaken-sinceFrozen, time.Nanosecond)
	}
	return 0
}

// Seat is a member's place at a meeting: where the members of a group that take part in one
// of its syncs wait for each other. Who fails leaves, and the others go on. A nil Seat is
// that of a machine that is synced by itself. [Seat.Leave] must be called; seats may be
// used from several goroutines, each seat by one.
type Seat struct {
	meeting *meeting
	replica string
	left    bool // it was left behind
	last    bool // it has come to the last stage
}

type meeting struct {
	id, name string
	members  []string

	mu    sync.Mutex     // guards what follows, and the seats
	seats map[*Seat]bool // of those who are still in
	now   *round
	first time.Time // when the first guest was frozen
	end   *round    // of stageThawed, once it is over
	took  []string  // who took part in it
}

// round is the meeting at one stage.
type round struct {
	at     stage
	here   map[*Seat]report // who has come
	late   *time.Timer      // nil if nobody waits, or without a limit
	over   chan struct{}    // closed when the round is
	result verdict          // set before that
}

func newRound(at stage) *round {
	return &round{at: at, here: map[*Seat]report{}, over: make(chan struct{})}
}

// NewMeeting makes a meeting for one set of a group: members are the replicas of all its
// machines, of which those in present take part. The seats are theirs, in that order.
func NewMeeting(id, name string, members, present []string) []*Seat {
	m := &meeting{id: id, name: name, members: members, seats: map[*Seat]bool{}, now: newRound(stagePlanned)}
	var seats []*Seat
	for _, replica := range present {
		s := &Seat{meeting: m, replica: replica}
		m.seats[s] = true
		seats = append(seats, s)
	}
	return seats
}

// SetID is the id of the set that the state of the member will belong to; empty of a nil
// Seat.
func (s *Seat) SetID() string {
	if s == nil {
		return ""
	}
	return s.meeting.id
}

// planned tells whether there is enough for a new state, and returns whether there is for
// any of the members.
func (s *Seat) planned(ctx context.Context, enough bool) (bool, error) {
	if s == nil {
		return enough, nil
	}
	v, err := s.come(ctx, stagePlanned, report{enough: enough})
	if errors.Is(err, errLeftBehind) {
		return enough, nil
	}
	return !v.skip, err
}

// prepared waits until all are. alone says that the others could not wait for this one.
func (s *Seat) prepared(ctx context.Context) (alone bool, err error) {
	_, err = s.come(ctx, stagePrepared, report{})
	if errors.Is(err, errLeftBehind) {
		return true, nil
	}
	return false, err
}

// arrive waits until all have come to a stage, and returns whether they are to begin again.
func (s *Seat) arrive(ctx context.Context, at stage, again bool) (bool, error) {
	v, err := s.come(ctx, at, report{again: again})
	return v.again, err
}

// thawed tells that the member goes on by itself from here.
func (s *Seat) thawed(stoodStill bool) {
	m := s.meeting
	m.mu.Lock()
	defer m.mu.Unlock()
	s.last = true
	m.arrived(s, report{still: stoodStill})
}

// set waits until all have thawed, and returns the set that the member's state belongs to
// and the group's members that did not take part; nil where it does not belong to any.
func (s *Seat) set(ctx context.Context) (*Set, []string, error) {
	if s == nil || !s.last {
		return nil, nil, nil
	}
	m := s.meeting
	m.mu.Lock()
	end := m.end
	if end == nil {
		end = m.now
	}
	m.mu.Unlock()
	select {
	case <-end.over:
	case <-ctx.Done():
		return nil, nil, context.Cause(ctx)
	}
	return &Set{ID: m.id, Name: m.name, Members: m.members, OneInstant: end.result.still}, missingOf(m.members, m.took), nil
}

// Leave says that the member does not go on, or has gone on by itself. The others wait
// for it no more.
func (s *Seat) Leave() {
	if s == nil {
		return
	}
	m := s.meeting
	m.mu.Lock()
	defer m.mu.Unlock()
	if s.last || !m.seats[s] {
		return
	}
	delete(m.seats, s)
	delete(m.now.here, s)
	m.settle()
}

// come arrives at a stage and waits until it is over.
func (s *Seat) come(ctx context.Context, at stage, r report) (verdict, error) {
	m := s.meeting
	m.mu.Lock()
	now := m.now
	switch {
	case s.left:
		m.mu.Unlock()
		return verdict{}, errLeftBehind
	case now.at != at || !m.seats[s]:
		m.mu.Unlock()
		return verdict{}, &Error{Kind: KindSequence, Domain: s.replica, Op: "meet the other machines of the group", Err: errors.New("called out of order")}
	}
	m.arrived(s, r)
	m.mu.Unlock()
	select {
	case <-now.over:
		return now.result, nil
	case <-ctx.Done():
		return verdict{}, context.Cause(ctx)
	}
}

// arrived notes who has come to the stage that all are at.
func (m *meeting) arrived(s *Seat, r report) {
	now := m.now
	if now.at == stageFrozen && m.first.IsZero() {
		m.first = time.Now()
	}
	now.here[s] = r
	if limit := waits(now.at, time.Since(m.first)); now.late == nil && limit > 0 {
		now.late = time.AfterFunc(limit, func() { m.goOn(now) })
	}
	m.settle()
}

// goOn leaves behind who has not come to a stage, if it is not over.
func (m *meeting) goOn(r *round) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.now != r {
		return
	}
	for s := range m.seats {
		if _, came := r.here[s]; !came {
			s.left = true
			delete(m.seats, s)
		}
	}
	m.settle()
}

// settle ends the stage if all who are in have come.
func (m *meeting) settle() {
	now := m.now
	if len(now.here) == 0 || len(now.here) < len(m.seats) || m.end != nil {
		return
	}
	var reports []report
	for _, r := range now.here {
		reports = append(reports, r)
	}
	now.result = decide(now.at, reports)
	if now.late != nil {
		now.late.Stop()
	}
	if now.at == stageThawed {
		m.end = now
		for s := range now.here {
			m.took = append(m.took, s.replica)
		}
	} else {
		m.now = newRound(next(now.at, now.result))
		if now.result.again {
			m.first = time.Time{}
		}
	}
	close(now.over)
}
