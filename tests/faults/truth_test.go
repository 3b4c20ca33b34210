package main

import "testing"

func states(generations ...int64) []state {
	var s []state
	for _, g := range generations {
		s = append(s, state{generation: g})
	}
	return s
}

func TestNewGenerationsAreOfTheLastAttempt(t *testing.T) {
	one, two, three := disksContent{"vda": newContent(1)}, disksContent{"vda": newContent(2)}, disksContent{"vda": newContent(3)}
	var tr truth
	is := func(generation int64, want disksContent) {
		t.Helper()
		got, err := tr.state(state{generation: generation})
		if err != nil || got["vda"] != want["vda"] {
			t.Errorf("generation %d: %v, %v", generation, got, err)
		}
	}
	tr.begin(one)
	tr.learn(&replica{pair: "a", last: 1, states: states(1)})
	is(1, one)
	tr.begin(two) // begins twice: a full copy after all
	tr.learn(&replica{pair: "a", last: 3, states: states(1)})
	is(1, one)
	is(3, two)
	tr.begin(three)
	tr.learn(&replica{pair: "a", last: 4, states: states(3, 4)})
	is(3, two)
	is(4, three)
	for _, gone := range []int64{1, 2, 5} {
		if _, err := tr.state(state{generation: gone}); err == nil {
			t.Errorf("generation %d is known", gone)
		}
	}
	// Another replica in the same folder counts from one.
	tr.begin(one)
	tr.learn(&replica{pair: "b", last: 1, states: states(1)})
	is(1, one)
	// Of a guest nothing is known until its checkpoint was read.
	tr.begin(nil)
	tr.learn(&replica{pair: "b", last: 2, states: states(1)})
	if _, err := tr.state(state{generation: 2}); err == nil {
		t.Error("what was never read is known")
	}
	tr.current.content = two
	is(2, two)
}
