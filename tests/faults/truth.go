package main

import "fmt"

// attempt is one sync that was tried. What its checkpoint reads as is the truth that
// a state of it is held against.
type attempt struct {
	content disksContent // nil while it is not known
}

// truth is what is known of the checkpoints of one replica.
//
// Which names an attempt gave to its checkpoints is not known when it begins. But a
// generation is reserved in the manifest before anything bears its name, and nothing
// is written to the disks between the begin of an attempt and its checkpoints. So
// whatever generations are new in the manifest after an attempt are of its content.
type truth struct {
	pair    string
	last    int64 // highest generation that is known to be given out
	of      map[int64]*attempt
	current *attempt
}

// begin tells that a sync is about to be tried.
func (t *truth) begin(c disksContent) { t.current = &attempt{content: c} }

// learn takes the generations that were given out since it was called last.
func (t *truth) learn(r *replica) {
	if r.pair != t.pair {
		t.pair, t.last, t.of = r.pair, 0, make(map[int64]*attempt)
	}
	for g := t.last + 1; g <= r.last; g++ {
		t.of[g] = t.current
	}
	t.last = r.last
	// A state that has left the manifest does not come back.
	held := make(map[int64]bool)
	newest := int64(0)
	for _, s := range r.states {
		held[s.generation], newest = true, s.generation
	}
	for g := range t.of {
		if g < newest && !held[g] {
			delete(t.of, g)
		}
	}
}

// state is what a state must read as.
func (t *truth) state(s state) (disksContent, error) {
	a := t.of[s.generation]
	if a == nil || a.content == nil {
		return nil, fmt.Errorf("state %s of checkpoint %s is there, and no sync came far enough to make it", s.id, s.checkpoint)
	}
	return a.content, nil
}
