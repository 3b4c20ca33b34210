package main

import (
	"fmt"
	"math/rand/v2"
	"time"

	"vmsync/internal/event"
	"vmsync/tests/lab"
)

// Everything that chance decides is decided here, from the seed alone, before any of
// it is done: the same seed gives the same rounds on every machine. What happens in
// them depends on timing, too.

const mib = int64(1) << 20

// Folders of their own small file systems, which can be filled.
const (
	smallImages = lab.ImageDir + "/small"
	smallStore  = "/srv/small"
	smallSize   = 640 * mib
	ownStore    = "/var/lib/vmsync"
	otherStore  = "/srv/other store"
)

// scenePlan is a machine or two, their replicas, and a number of rounds with them.
type scenePlan struct {
	number        int
	first, rounds int  // rounds first to first+rounds-1
	guest         bool // one live guest, instead of machines without
	smallSource   bool // the machines' images are on a small file system
	smallTarget   bool // the stores are
	machines      []lab.MachineSpec
	pairs         []pairPlan
}

// pairPlan is a machine's replica.
type pairPlan struct {
	machine       int // index
	store, domain string
	keep          string // for --keep; empty: without
}

// product is what the plans need to know of the programs.
type product struct {
	points []string // names of fault points
	keeps  bool     // sync has --keep
}

func planScene(seed uint64, number, first int) scenePlan {
	rng := rand.New(rand.NewPCG(seed, 1<<32+uint64(number)))
	p := scenePlan{number: number, first: first, rounds: 6 + rng.IntN(9)}
	switch rng.IntN(10) {
	case 0, 1:
		p.guest, p.rounds = true, 3+rng.IntN(4) // guests are slow
		p.smallSource = rng.IntN(2) == 0
	case 2:
		p.smallSource = true
	case 3, 4:
		p.smallTarget = true
	}
	machines := 1
	if !p.guest && rng.IntN(4) == 0 {
		machines = 2
	}
	for i := range machines {
		name := fmt.Sprintf("vm%d-%d", number, i)
		p.machines = append(p.machines, lab.MachineSpec{Name: name, Guest: p.guest, Disks: planDisks(rng, p, name)})
		store := ownStore
		if p.smallTarget {
			store = smallStore + "/store"
		}
		p.pairs = append(p.pairs, pairPlan{i, store, name, planKeep(rng)})
		if rng.IntN(3) == 0 {
			if !p.smallTarget {
				store = otherStore
			}
			p.pairs = append(p.pairs, pairPlan{i, store, name + "-b", planKeep(rng)})
		}
	}
	return p
}

func planDisks(rng *rand.Rand, p scenePlan, machine string) []lab.DiskSpec {
	n, most := 1+rng.IntN(3), 256*mib
	if p.guest || p.smallSource || p.smallTarget {
		n, most = 1+rng.IntN(2), 96*mib
	}
	var disks []lab.DiskSpec
	for i := range n {
		d := lab.DiskSpec{Target: "vd" + string(rune('a'+i)), Size: 64*mib + rng.Int64N((most-64*mib)/512+1)*512}
		switch rng.IntN(3) {
		case 0: // whole clusters of every kind
			d.Size &^= mib - 1
		case 1:
			d.Size &^= 64<<10 - 1
		}
		if p.smallSource {
			d.Path = fmt.Sprintf("%s/%s-%s.qcow2", smallImages, machine, d.Target)
		}
		disks = append(disks, d)
	}
	return disks
}

func planKeep(rng *rand.Rand) string {
	return []string{"", "", "2", "4", "8"}[rng.IntN(5)]
}

// step is the moment of a fault: a named point of the programs, or so far into a phase.
type step struct {
	point    string
	phase    event.Phase
	fraction float64 // of the phase's usual duration
}

func (s step) String() string {
	if s.point != "" {
		return s.point
	}
	return during(s.phase)
}

func during(p event.Phase) string { return "during " + string(p) }

// phases are those of a sync, in order.
var phases = []event.Phase{event.PhaseConnect, event.PhaseInspect, event.PhaseBegin, event.PhaseTransfer, event.PhaseCommit, event.PhaseFinish}

// Places that a sync is run at.
const (
	fromTarget = "target"
	fromSource = "source"
	fromThird  = "third"
)

// roundPlan is one fault in one sync.
type roundPlan struct {
	number        int
	pair          int // index
	fault         *fault
	step          step
	leave         int64 // bytes that a filled file system has left
	before        []write
	during, after []write // once the checkpoint exists; once the fault is over
	from          string  // fromTarget, fromSource, fromThird
	transport     string
	compress      string
	slow          bool          // the transfer is held to a rate at which it lasts
	look          bool          // the states are looked at right after the fault, too
	pause         time.Duration // after the fault, before anything is made good
}

// slowRate is that of a round that is slow.
const slowRate = "12M"

func planRound(seed uint64, number int, s scenePlan, about product) roundPlan {
	rng := rand.New(rand.NewPCG(seed, uint64(number)))
	p := roundPlan{number: number, pair: rng.IntN(len(s.pairs))}
	p.from = []string{fromTarget, fromTarget, fromSource, fromThird}[rng.IntN(4)]
	p.transport = []string{"auto", "auto", "direct", "ssh"}[rng.IntN(4)]
	p.compress = []string{"auto", "auto", "none", "s2", "zstd"}[rng.IntN(5)]
	p.slow = rng.IntN(3) == 0
	p.look = rng.IntN(3) == 0
	p.leave = rng.Int64N(2 * mib)
	p.pause = time.Duration(rng.IntN(4)/3) * time.Duration(rng.IntN(1500)) * time.Millisecond
	if rng.IntN(5) < 3 {
		p.step.point = about.points[rng.IntN(len(about.points))]
	} else {
		p.step.phase, p.step.fraction = phases[rng.IntN(len(phases))], rng.Float64()
	}
	p.fault = pickFault(rng, s, p)
	disks := s.machines[s.pairs[p.pair].machine].Disks
	n := 1 + rng.IntN(12)
	if number == s.first {
		n = 20
	}
	p.before = randomWrites(rng, disks, n)
	if p.slow || rng.IntN(4) == 0 {
		p.before = append(p.before, bulk(rng, disks))
	}
	if rng.IntN(5) < 2 || p.fault.writes {
		p.during = withoutDiscards(randomWrites(rng, disks, 1+rng.IntN(6)))
	}
	if rng.IntN(3) == 0 {
		p.after = withoutDiscards(randomWrites(rng, disks, 1+rng.IntN(6)))
	}
	return p
}

// pickFault chooses one that the scene and the moment allow, by weight.
func pickFault(rng *rand.Rand, s scenePlan, p roundPlan) *fault {
	var possible []*fault
	sum := 0
	for i := range faults {
		f := &faults[i]
		if (f.in == nil || f.in(s)) && (f.at == nil || f.at(p)) {
			possible = append(possible, f)
			sum += f.weight
		}
	}
	n := rng.IntN(sum)
	for _, f := range possible {
		if n -= f.weight; n < 0 {
			return f
		}
	}
	panic("unreachable: the weights' sum is larger than n")
}
