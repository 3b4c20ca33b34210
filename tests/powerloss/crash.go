package powerloss

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// fate is what became of an operation that was not synced when the power went.
type fate struct {
	kind fateKind
	seed uint64 // which sectors of a torn write are there
}

type fateKind uint8

const (
	kept  fateKind = iota
	lost           // as if it had not been
	torn           // a write of which some sectors are there
	sized          // a write that made the file longer, and no more
)

func (k fateKind) String() string { return [...]string{"kept", "lost", "torn", "only its size"}[k] }

// crash is one thing that a power cut may do: it comes before operation at, and the
// operations before have the fates given, those without one are kept.
type crash struct {
	at    int
	fates map[int]fate
	// loose lets single changes of a folder's names be lost; otherwise all that came
	// after one of them in the folder and could be lost is lost, too.
	loose bool
}

// plan knows from a log which operations are at stake when.
type plan struct {
	log    *Log
	synced []int // for each operation the index of that which made it durable, or len(Ops)
}

func newPlan(l *Log) *plan {
	p := &plan{log: l, synced: make([]int, len(l.Ops))}
	next := map[int]int{} // the first sync of an inode from here on
	first := func(inode int) int {
		if i, ok := next[inode]; ok {
			return i
		}
		return len(l.Ops)
	}
	for i := len(l.Ops) - 1; i >= 0; i-- {
		switch o := l.Ops[i]; {
		case o.Kind == Sync:
			next[o.Inode] = i
		case o.content():
			p.synced[i] = first(o.Inode)
		case o.names():
			for _, d := range o.dirs() {
				p.synced[i] = max(p.synced[i], first(d))
			}
		}
	}
	return p
}

// pending are the operations that may be lost in a crash before operation at.
func (p *plan) pending(at int) []int {
	var list []int
	for i, o := range p.log.Ops[:at] {
		if (o.content() || o.names()) && p.synced[i] >= at {
			list = append(list, i)
		}
	}
	return list
}

// points are where as much as possible is at stake: before each sync and mark, and at the
// end. What a crash elsewhere can leave, one at the next of these can leave, too.
func (p *plan) points() []int {
	var list []int
	for i, o := range p.log.Ops {
		if o.Kind == Sync || o.Kind == Mark {
			list = append(list, i)
		}
	}
	return append(list, len(p.log.Ops))
}

// group tells what an operation is lost together with: a file's content, or a
// folder's names.
type group struct {
	inode int
	names bool
}

func groupOf(o Op) group {
	if o.names() {
		return group{o.Dir, true}
	}
	return group{o.Inode, false}
}

// normal puts a crash right that is not loose: see crash.loose.
func (p *plan) normal(c crash) crash {
	if c.loose {
		return c
	}
	broken := map[int]bool{} // folders
	for i, o := range p.log.Ops[:c.at] {
		if !o.names() || p.synced[i] < c.at {
			continue
		}
		dirs := o.dirs()
		if c.fates[i].kind == lost || slices.ContainsFunc(dirs, func(d int) bool { return broken[d] }) {
			c.fates[i] = fate{kind: lost}
			for _, d := range dirs {
				broken[d] = true
			}
		}
	}
	return c
}

// tree is what the crash leaves.
func (p *plan) tree(c crash) *tree {
	t := p.log.base.clone()
	for i, o := range p.log.Ops[:c.at] {
		switch f := c.fates[i]; f.kind {
		case kept:
			t.apply(o)
		case lost:
			t.exist(o)
		case sized:
			t.inodes[o.Inode].grow(o.Offset + o.Length)
		case torn:
			for _, part := range tear(o, f.seed) {
				t.apply(part)
			}
		}
	}
	return t
}

// tear gives the parts of a write that are there. The seed decides: sectors of which
// size, and the first so many or any.
func tear(o Op, seed uint64) []Op {
	rnd := rand.New(rand.NewPCG(seed, 0))
	sector := []int64{512, 4096}[rnd.IntN(2)]
	prefix := rnd.IntN(2) == 0
	end := o.Offset + o.Length
	cut := o.Offset + rnd.Int64N(o.Length)
	var parts []Op
	for from := o.Offset; from < end; {
		to := min(end, (from/sector+1)*sector)
		if prefix && to <= cut || !prefix && rnd.IntN(2) == 0 {
			part := o
			part.Offset, part.Length, part.Data = from, to-from, o.Data[from-o.Offset:to-o.Offset]
			parts = append(parts, part)
		}
		from = to
	}
	return parts
}

// marks are the promises made before the crash.
func (p *plan) marks(c crash) []string {
	var list []string
	for _, o := range p.log.Ops[:c.at] {
		if o.Kind == Mark {
			list = append(list, o.Path)
		}
	}
	return list
}

// describe tells people what a crash is.
func (p *plan) describe(c crash) string {
	var b strings.Builder
	if c.at < len(p.log.Ops) {
		fmt.Fprintf(&b, "power cut before operation %d of %d (%v)", c.at, len(p.log.Ops), p.log.Ops[c.at])
	} else {
		fmt.Fprintf(&b, "power cut after the last of %d operations", len(p.log.Ops))
	}
	listed, more := 0, 0
	for i, o := range p.log.Ops[:c.at] {
		f, ok := c.fates[i]
		switch {
		case !ok || f.kind == kept:
		case listed == 30:
			more++
		default:
			listed++
			fmt.Fprintf(&b, "\n  %-13s %d: %v", f.kind, i, o)
		}
	}
	if more > 0 {
		fmt.Fprintf(&b, "\n  and %d more", more)
	}
	return b.String()
}
