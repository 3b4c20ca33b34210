package powerloss

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/zeebo/xxh3"
)

var (
	crashesFlag = flag.Int("crashes", 0, "power cuts to try for each log, instead of the tests' own few hundred")
	seedFlag    = flag.Uint64("seed", 1, "seed of the power cuts that are tried")
)

// Options say how much to explore.
type Options struct {
	// Crashes is how many different folders are checked at most; 300 if it is 0. The flag
	// -crashes overrides it.
	Crashes int
	// Workers is how many checks run at once; as many as there are processors if
	// it is 0.
	Workers int
}

// Crash is a folder as a power cut left it.
type Crash struct {
	// Dir is the folder. The check may do with it what it likes.
	Dir string
	// Marks are the promises that were made before, oldest first.
	Marks []string
}

// Stats say what was explored.
type Stats struct {
	Ops     int // operations in the log
	Checked int // folders that were checked, all different
	Alike   int // crashes that left a folder which another one had left
	Failed  bool
}

// Explore checks the folders that power cuts may have left. The check is called from
// several goroutines; an error of it fails the test, with the crash that led to it, shrunk
// to what has to be lost for the check to fail.
func (l *Log) Explore(t testing.TB, opts Options, check func(Crash) error) Stats {
	t.Helper()
	stats, failure := l.explore(t, opts, *seedFlag, check)
	if failure != "" {
		t.Error(failure)
	}
	t.Logf("%d operations, %d folders checked, %d crashes left the same as another", stats.Ops, stats.Checked, stats.Alike)
	return stats
}

// explore is Explore without its verdict: failure is empty or says what is wrong.
func (l *Log) explore(t testing.TB, opts Options, seed uint64, check func(Crash) error) (stats Stats, failure string) {
	t.Helper()
	if *crashesFlag > 0 {
		opts.Crashes = *crashesFlag
	}
	if opts.Crashes <= 0 {
		opts.Crashes = 300
	}
	if opts.Workers <= 0 {
		opts.Workers = runtime.NumCPU()
	}
	x := &explorer{plan: newPlan(l), check: check, scratch: scratch(t), seen: map[key]bool{}, stats: Stats{Ops: len(l.Ops)}, limit: opts.Crashes}

	// Folders are made one after the other and checked side by side.
	work := make(chan job)
	var workers sync.WaitGroup
	for range opts.Workers {
		workers.Go(func() {
			for j := range work {
				if err := x.look(j.tree, j.crash); err != nil {
					x.fail(j.crash, err)
				}
			}
		})
	}
	alike := 0 // in a row
	for c := range x.crashes(rand.New(rand.NewPCG(seed, 0))) {
		c = x.plan.normal(c)
		tree := x.plan.tree(c)
		if !x.fresh(tree, c) {
			if alike++; alike > 300+x.limit/2 {
				break // there is hardly anything new
			}
			continue
		}
		alike = 0
		work <- job{tree, c}
		if x.done() {
			break
		}
	}
	close(work)
	workers.Wait()
	if x.failed == nil {
		return x.stats, ""
	}
	x.stats.Failed = true
	small, err := x.shrink(*x.failed, x.err)
	return x.stats, fmt.Sprintf("%s\nmarks: %q, seed %d\n%v", x.plan.describe(small), x.plan.marks(small), seed, err)
}

type job struct {
	tree  *tree
	crash crash
}

// key tells apart what a check can tell apart.
type key struct {
	tree  xxh3.Uint128
	marks int
}

type explorer struct {
	plan    *plan
	check   func(Crash) error
	scratch string
	seen    map[key]bool
	limit   int

	mu     sync.Mutex
	stats  Stats
	failed *crash
	err    error
}

// scratch is a folder for the folders: in memory where there is one, since checks sync.
func scratch(t testing.TB) string {
	dir, err := os.MkdirTemp("/dev/shm", "powerloss")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// fresh tells whether no crash before has left the same.
func (x *explorer) fresh(t *tree, c crash) bool {
	k := key{t.key(), len(x.plan.marks(c))}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.seen[k] {
		x.stats.Alike++
		return false
	}
	x.seen[k] = true
	x.stats.Checked++
	return true
}

func (x *explorer) done() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.failed != nil || x.stats.Checked >= x.limit
}

func (x *explorer) fail(c crash, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.failed == nil {
		x.failed, x.err = &c, err
	}
}

// look has a folder checked.
func (x *explorer) look(t *tree, c crash) error {
	dir, err := os.MkdirTemp(x.scratch, "")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := t.write(dir); err != nil {
		return err
	}
	return x.check(Crash{Dir: dir, Marks: x.plan.marks(c)})
}

// crashes yields what to try, the telling ones first.
func (x *explorer) crashes(rnd *rand.Rand) func(func(crash) bool) {
	return func(yield func(crash) bool) {
		p := x.plan
		points := p.points()
		boundaries := rnd.Perm(len(p.log.Ops))
		for _, at := range append(slices.Clone(points), boundaries[:min(len(boundaries), x.limit/4)]...) {
			all := map[int]fate{}
			for _, i := range p.pending(at) {
				all[i] = fate{kind: lost}
			}
			if !yield(crash{at: at, loose: true}) || !yield(crash{at: at, fates: all, loose: true}) {
				return
			}
		}
		systematic := p.systematic()
		rnd.Shuffle(len(systematic), func(i, j int) { systematic[i], systematic[j] = systematic[j], systematic[i] })
		if x.limit < len(systematic)*2 {
			systematic = systematic[:min(len(systematic), x.limit/2)] // leave room for mixtures
		}
		for _, c := range systematic {
			if !yield(c) {
				return
			}
		}
		for {
			if !yield(p.random(points[rnd.IntN(len(points))], rnd)) {
				return
			}
		}
	}
}

// systematic are the crashes in which one operation, file or folder fares differently
// from all others.
func (p *plan) systematic() []crash {
	var list []crash
	for _, at := range p.points() {
		pending := p.pending(at)
		var groups []group
		for _, i := range pending {
			o := p.log.Ops[i]
			if g := groupOf(o); !slices.Contains(groups, g) {
				groups = append(groups, g)
			}
			list = append(list, crash{at: at, loose: true, fates: map[int]fate{i: {kind: lost}}})
			if o.Kind == Write {
				list = append(list, crash{at: at, fates: map[int]fate{i: {kind: torn, seed: uint64(i)}}},
					crash{at: at, fates: map[int]fate{i: {kind: sized}}})
			}
			if o.names() {
				list = append(list, crash{at: at, fates: map[int]fate{i: {kind: lost}}})
			}
		}
		for _, g := range groups {
			alone, others := map[int]fate{}, map[int]fate{}
			for _, i := range pending {
				if groupOf(p.log.Ops[i]) == g {
					alone[i] = fate{kind: lost}
				} else {
					others[i] = fate{kind: lost}
				}
			}
			list = append(list, crash{at: at, loose: true, fates: alone}, crash{at: at, loose: true, fates: others})
		}
	}
	return list
}

// random is a crash in which each file and folder has a way of its own to lose things.
func (p *plan) random(at int, rnd *rand.Rand) crash {
	c := crash{at: at, fates: map[int]fate{}, loose: rnd.IntN(2) == 0}
	members := map[group][]int{}
	var order []group
	for _, i := range p.pending(at) {
		g := groupOf(p.log.Ops[i])
		if members[g] == nil {
			order = append(order, g)
		}
		members[g] = append(members[g], i)
	}
	for _, g := range order {
		list := members[g]
		way := rnd.IntN(5)
		cut := rnd.IntN(len(list) + 1)
		for n, i := range list {
			switch {
			case way == 0 || way == 1 && n < cut: // all of it, or the first part, is there
			case way <= 2:
				c.fates[i] = fate{kind: lost}
			case p.log.Ops[i].Kind == Write:
				c.fates[i] = fate{kind: fateKind(rnd.IntN(4)), seed: rnd.Uint64()}
			case rnd.IntN(2) == 0:
				c.fates[i] = fate{kind: lost}
			}
		}
	}
	return c
}

// shrinkTime is how long a failing crash is shrunk at most.
const shrinkTime = 20 * time.Second

// shrink takes fates from a failing crash as long as it fails.
func (x *explorer) shrink(c crash, err error) (crash, error) {
	begin := time.Now()
	for size := len(c.fates); size > 0; size /= 2 {
		for from := 0; from < len(c.fates) && time.Since(begin) < shrinkTime; {
			lostOnes := slices.Sorted(maps.Keys(c.fates))
			small := crash{at: c.at, loose: c.loose, fates: map[int]fate{}}
			for n, i := range lostOnes {
				if n < from || n >= from+size {
					small.fates[i] = c.fates[i]
				}
			}
			small = x.plan.normal(small)
			if len(small.fates) < len(c.fates) {
				if e := x.look(x.plan.tree(small), small); e != nil {
					c, err = small, e
					continue
				}
			}
			from += size
		}
	}
	return c, err
}
