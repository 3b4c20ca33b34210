package main

import (
	"reflect"
	"slices"
	"testing"

	"vmsync/tests/lab"
)

var anyProduct = product{points: []string{"source-after-begin", "source-after-thaw", "target-after-commit", "target-before-merge"}}

// manyRounds plans the rounds of many scenes.
func manyRounds(seed uint64) (scenes []scenePlan, rounds []roundPlan) {
	first := 0
	for number := range 60 {
		s := planScene(seed, number, first)
		scenes = append(scenes, s)
		for n := first; n < first+s.rounds; n++ {
			rounds = append(rounds, planRound(seed, n, s, anyProduct))
		}
		first += s.rounds
	}
	return scenes, rounds
}

func TestTheSeedDecidesEverything(t *testing.T) {
	scenes, rounds := manyRounds(7)
	again, roundsAgain := manyRounds(7)
	// The faults hold functions, which cannot be compared; they are the same ones.
	if !reflect.DeepEqual(scenes, again) || len(rounds) != len(roundsAgain) {
		t.Fatal("the same seed made other scenes")
	}
	for i := range rounds {
		a, b := rounds[i], roundsAgain[i]
		if a.fault != b.fault {
			t.Fatalf("round %d: %s, then %s", i, a.fault.name, b.fault.name)
		}
		a.fault, b.fault = nil, nil
		if !reflect.DeepEqual(a, b) {
			t.Fatalf("the same seed made round %d another: %+v, then %+v", i, a, b)
		}
	}
	if other, _ := manyRounds(8); reflect.DeepEqual(scenes, other) {
		t.Error("another seed made the same scenes")
	}
}

func TestEveryFaultAndMomentComesUp(t *testing.T) {
	_, rounds := manyRounds(1)
	struck, at := make(map[string]int), make(map[string]int)
	for _, r := range rounds {
		struck[r.fault.name]++
		at[r.step.String()]++
	}
	for _, f := range faults {
		if struck[f.name] == 0 {
			t.Errorf("%s never comes up", f.name)
		}
	}
	for _, p := range anyProduct.points {
		if at[p] == 0 {
			t.Errorf("nothing happens at %s", p)
		}
	}
	for _, p := range phases {
		if at[during(p)] == 0 {
			t.Errorf("nothing happens %s", during(p))
		}
	}
}

func TestPlansStayWithinTheDisks(t *testing.T) {
	scenes, rounds := manyRounds(3)
	i := 0
	for _, s := range scenes {
		for ; i < len(rounds) && rounds[i].number < s.first+s.rounds; i++ {
			r := rounds[i]
			disks := s.machines[s.pairs[r.pair].machine].Disks
			for _, w := range slices.Concat(r.before, r.during, r.after) {
				at := slices.IndexFunc(disks, func(d lab.DiskSpec) bool { return d.Target == w.disk })
				if at < 0 || w.offset < 0 || w.length <= 0 || w.offset+w.length > disks[at].Size || w.offset%512 != 0 || w.length%512 != 0 {
					t.Fatalf("round %d: %+v on %+v", r.number, w, disks)
				}
			}
		}
	}
}

func TestWhatASmallFileSystemHoldsIsNotCrashed(t *testing.T) {
	scenes, rounds := manyRounds(5)
	for _, r := range rounds {
		s := scenes[slices.IndexFunc(scenes, func(s scenePlan) bool { return r.number < s.first+s.rounds })]
		if s.smallSource && r.fault.name == "source crashed" || s.smallTarget && r.fault.name == "target crashed" {
			t.Errorf("round %d: %s in %+v", r.number, r.fault.name, s)
		}
	}
}
