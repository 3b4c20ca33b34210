package replicator

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestWhatHoldsForAllMembers(t *testing.T) {
	for name, c := range map[string]struct {
		at      stage
		reports []report
		want    verdict
		next    stage
	}{
		"nobody has changed":              {stagePlanned, []report{{}, {}}, verdict{skip: true}, stagePrepared},
		"one that has changed takes all":  {stagePlanned, []report{{}, {enough: true}, {}}, verdict{}, stagePrepared},
		"all are prepared":                {stagePrepared, []report{{}, {}}, verdict{}, stageReady},
		"one has no parent any more":      {stageReady, []report{{}, {again: true}}, verdict{again: true}, stagePrepared},
		"all are frozen":                  {stageFrozen, []report{{}, {}}, verdict{}, stageTaken},
		"one's bitmaps turn out unusable": {stageTaken, []report{{again: true}, {}}, verdict{again: true}, stagePrepared},
		"all are taken":                   {stageTaken, []report{{}}, verdict{}, stageThawed},
		"all stood still":                 {stageThawed, []report{{still: true}, {still: true}}, verdict{still: true}, stageThawed + 1},
		"one moved":                       {stageThawed, []report{{still: true}, {}}, verdict{}, stageThawed + 1},
	} {
		v := decide(c.at, c.reports)
		if v != c.want || next(c.at, v) != c.next {
			t.Errorf("%s: %+v, then %d; want %+v, then %d", name, v, next(c.at, v), c.want, c.next)
		}
	}
}

// Guests that are frozen let go by themselves: the meeting must not wait until then.
func TestNobodyWaitsUntilTheGuestsAreThawed(t *testing.T) {
	for _, frozen := range []time.Duration{0, 3 * time.Second, patienceFrozen, LongestHold} {
		if end := frozen + waits(stageTaken, frozen); frozen < patienceTaken && end >= LongestHold {
			t.Errorf("frozen for %v, the checkpoints are waited for until %v", frozen, end)
		}
		if waits(stageTaken, frozen) <= 0 {
			t.Errorf("frozen for %v: no limit", frozen)
		}
	}
	if waits(stageFrozen, 0) >= waits(stageTaken, 0) || FreezeLimit >= patienceFrozen {
		t.Error("a guest that is frozen last has no time for its checkpoint")
	}
}

// seatsOf makes a meeting of members that all take part.
func seatsOf(names ...string) []*Seat { return NewMeeting("0123456789ab", "shop", names, names) }

// walk takes a member through the stages; take does what a step does at a stage.
func walk(s *Seat, take func(stage) (again bool, err error)) (times int, err error) {
	defer s.Leave()
	ctx := context.Background()
	if _, err := s.planned(ctx, true); err != nil {
		return 0, err
	}
begin:
	times++
	if _, err := s.prepared(ctx); err != nil {
		return times, err
	}
	for _, at := range []stage{stageReady, stageFrozen, stageTaken} {
		again, err := take(at)
		if err != nil {
			return times, err
		}
		if again, err = s.arrive(ctx, at, again); err != nil {
			return times, err
		}
		if again {
			goto begin
		}
	}
	if _, err := take(stageThawed); err != nil {
		return times, err
	}
	s.thawed(true)
	return times, nil
}

func TestNobodyIsFrozenBeforeAllAreReadyNorThawedBeforeAllAreTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var order []string
		done := make(chan string)
		mu := make(chan struct{}, 1)
		for i, s := range seatsOf("a", "b", "c") {
			go func() {
				_, err := walk(s, func(at stage) (bool, error) {
					time.Sleep(time.Duration(i) * 500 * time.Millisecond) // c is the slowest at everything
					mu <- struct{}{}
					order = append(order, s.replica+[]string{stageReady: "r", stageFrozen: "f", stageTaken: "t", stageThawed: "w"}[at])
					<-mu
					return false, nil
				})
				set, missing, serr := s.set(t.Context())
				if err != nil || serr != nil || !set.OneInstant || len(missing) > 0 || set.ID != "0123456789ab" || !slices.Equal(set.Members, []string{"a", "b", "c"}) {
					t.Errorf("%v %v %+v %v", err, serr, set, missing)
				}
				done <- s.replica
			}()
		}
		for range 3 {
			<-done
		}
		if got := strings.Join(order, " "); got != "ar br cr af bf cf at bt ct aw bw cw" {
			t.Error(got)
		}
	})
}

func TestWhoFailsLeavesAndTheOthersGoOn(t *testing.T) {
	for _, fails := range []stage{stageReady, stageFrozen, stageTaken, stageThawed} {
		synctest.Test(t, func(t *testing.T) {
			broken := errors.New("broken")
			seats := seatsOf("a", "b", "c")
			done := make(chan error)
			for i, s := range seats {
				go func() {
					_, err := walk(s, func(at stage) (bool, error) {
						if i == 1 && at == fails {
							time.Sleep(time.Second) // the others are there already
							return false, broken
						}
						return false, nil
					})
					if i != 1 && err == nil {
						set, missing, serr := s.set(t.Context())
						if serr != nil || !set.OneInstant || !slices.Equal(missing, []string{"b"}) || len(set.Members) != 3 {
							t.Errorf("fails at %d: %+v, missing %v, %v", fails, set, missing, serr)
						}
					}
					done <- err
				}()
			}
			failed := 0
			for range seats {
				if err := <-done; err != nil {
					failed++
				}
			}
			if failed != 1 {
				t.Errorf("fails at %d: %d failed", fails, failed)
			}
			if set, _, err := seats[1].set(t.Context()); set != nil || err != nil {
				t.Error("who left has a set")
			}
		})
	}
}

func TestWhoIsLateIsLeftBehindBeforeTheOthersAreThawed(t *testing.T) {
	for _, late := range []stage{stageFrozen, stageTaken} {
		synctest.Test(t, func(t *testing.T) {
			done := make(chan error)
			for i, s := range seatsOf("a", "b", "c") {
				go func() {
					var frozen time.Time
					_, err := walk(s, func(at stage) (bool, error) {
						switch {
						case i == 2 && at == late:
							time.Sleep(time.Minute)
						case at == stageFrozen:
							frozen = time.Now()
						case at == stageThawed && time.Since(frozen) >= LongestHold:
							t.Errorf("late at %d: frozen for %v", late, time.Since(frozen))
						}
						return false, nil
					})
					if (i == 2) != errors.Is(err, errLeftBehind) {
						t.Errorf("late at %d, %s: %v", late, s.replica, err)
					}
					done <- err
				}()
			}
			for range 3 {
				<-done
			}
		})
	}
}

func TestWhoDoesNotGetReadyIsSyncedByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seats := seatsOf("a", "b")
		alone := make(chan bool)
		go func() {
			if _, err := seats[1].planned(t.Context(), true); err != nil {
				t.Error(err)
			}
			time.Sleep(time.Hour)
			by, err := seats[1].prepared(t.Context())
			if set, _, serr := seats[1].set(t.Context()); set != nil || err != nil || serr != nil {
				t.Errorf("%+v %v %v", set, err, serr)
			}
			alone <- by
		}()
		began := time.Now()
		if _, err := walk(seats[0], func(stage) (bool, error) { return false, nil }); err != nil || time.Since(began) != patienceReady {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		if _, missing, _ := seats[0].set(t.Context()); !slices.Equal(missing, []string{"b"}) {
			t.Errorf("missing %v", missing)
		}
		if !<-alone {
			t.Error("it is not by itself")
		}
	})
}

func TestAllBeginAgainWhereOneHasTo(t *testing.T) {
	for _, at := range []stage{stageReady, stageTaken} {
		synctest.Test(t, func(t *testing.T) {
			done := make(chan int)
			for i, s := range seatsOf("a", "b", "c") {
				go func() {
					lost := i == 1
					times, err := walk(s, func(now stage) (bool, error) {
						again := lost && now == at
						lost = lost && !again
						return again, nil
					})
					if set, _, serr := s.set(t.Context()); err != nil || serr != nil || !set.OneInstant {
						t.Errorf("%v %v %+v", err, serr, set)
					}
					done <- times
				}()
			}
			for range 3 {
				if times := <-done; times != 2 {
					t.Errorf("begun %d times", times)
				}
			}
		})
	}
}

func TestWhoGivesUpIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seats := seatsOf("a", "b")
		ctx, cancel := context.WithCancelCause(t.Context())
		stopped := errors.New("stopped")
		time.AfterFunc(time.Second, func() { cancel(stopped) })
		if _, err := seats[0].planned(ctx, true); !errors.Is(err, stopped) {
			t.Error(err)
		}
		seats[0].Leave()
		seats[0].Leave()
		if _, err := walk(seats[1], func(stage) (bool, error) { return false, nil }); err != nil {
			t.Error(err)
		}
	})
}
