package replicator

import (
	"context"
	"errors"
	"testing"

	"vmsync/internal/event"
)

// scales is a source that knows what changed.
type scales struct {
	SourceEnd
	changed map[string]int64
	err     error
}

func (s scales) Changed(context.Context, string) (map[string]int64, error) { return s.changed, s.err }

type deaf struct{}

func (deaf) Emit(event.Event) {}

func TestARunIsSkippedOnlyForChangesThatAreKnownAndTooFew(t *testing.T) {
	two := &Head{Definition: "same", Disks: []HeadDisk{{Name: "vda", Size: 100}, {Name: "vdb", Size: 100}}}
	plan := func(incremental ...bool) *Plan {
		p := &Plan{Parent: "vmsync-00000000-1"}
		for i, inc := range incremental {
			p.Disks = append(p.Disks, PlanDisk{Name: "vd" + string(rune('a'+i)), Size: 100, Incremental: inc})
		}
		return p
	}
	const goesOn = -1
	for name, c := range map[string]struct {
		req     Request
		plan    *Plan
		head    *Head
		changed map[string]int64
		err     error
		want    int64 // bytes, of a run that is skipped
	}{
		"the definition is new":    {Request{MinChanged: 64}, plan(true, true), &Head{Definition: "old", Disks: two.Disks}, map[string]int64{"vda": 0, "vdb": 0}, nil, goesOn},
		"nobody knows the old one": {Request{MinChanged: 64}, plan(true, true), &Head{Disks: two.Disks}, map[string]int64{"vda": 0, "vdb": 0}, nil, 0},
		"other states to keep":     {Request{MinChanged: 64, Keep: "3"}, plan(true, true), two, map[string]int64{"vda": 0, "vdb": 0}, nil, goesOn},
		"the same in other words":  {Request{MinChanged: 64, Keep: "daily=7,last=8"}, plan(true, true), two, map[string]int64{"vda": 0, "vdb": 0}, nil, 0},
		"not asked for":            {Request{}, plan(true, true), two, map[string]int64{"vda": 0, "vdb": 0}, nil, goesOn},
		"nothing changed":          {Request{SkipUnchanged: true}, plan(true, true), two, map[string]int64{"vda": 0, "vdb": 0}, nil, 0},
		"one byte changed":         {Request{SkipUnchanged: true}, plan(true, true), two, map[string]int64{"vda": 0, "vdb": 1}, nil, goesOn},
		"less than the minimum":    {Request{MinChanged: 64}, plan(true, true), two, map[string]int64{"vda": 31, "vdb": 32}, nil, 63},
		"the minimum":              {Request{MinChanged: 64}, plan(true, true), two, map[string]int64{"vda": 32, "vdb": 32}, nil, goesOn},
		"no more than a disk has":  {Request{MinChanged: 150}, plan(true, true), two, map[string]int64{"vda": 1 << 40, "vdb": 0}, nil, 100},
		"a disk is full":           {Request{MinChanged: 64}, plan(true, false), two, map[string]int64{"vda": 0}, nil, goesOn},
		"a disk is gone":           {Request{MinChanged: 64}, plan(true), two, map[string]int64{"vda": 0}, nil, goesOn},
		"there is no replica":      {Request{MinChanged: 64}, &Plan{}, nil, nil, nil, goesOn},
		"one disk is not known of": {Request{MinChanged: 64}, plan(true, true), two, map[string]int64{"vda": 0}, nil, goesOn},
		"it cannot be told":        {Request{MinChanged: 64}, plan(true, true), two, nil, errors.New("bitmap is gone"), goesOn},
	} {
		r := &run{req: c.req, src: scales{changed: c.changed, err: c.err}, out: deaf{}, plan: c.plan,
			source: &SourceView{Name: "vm1", Shape: Shape{Definition: "same"}}, target: &TargetView{Head: c.head, Keep: "last=8,daily=7"}}
		if err := r.weigh(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		got := int64(goesOn)
		if r.skipped != nil {
			got = r.skipped.ChangedBytes
		}
		if got != c.want {
			t.Errorf("%s: got %d, want %d", name, got, c.want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := &run{req: Request{MinChanged: 64}, src: scales{err: context.Canceled}, out: deaf{}, plan: plan(true, true), source: &SourceView{}, target: &TargetView{Head: two}}
	if err := r.weigh(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("a run that was given up: %v", err)
	}
}
