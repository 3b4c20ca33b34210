// Package scrub reads back what a store of this host holds and finds what is not as it was
// received: images, their block indexes, and the files beside them.
//
// It holds no lock while it reads, only pins (store.Pin): a sync may go on meanwhile and
// reshape the images. It locks the replica for as long as it takes to finish a change that
// somebody died over, and in the end to keep its findings in the manifest. It must never
// change an image or an index by itself.
package scrub

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"vmsync/internal/blockindex"
	"vmsync/internal/event"
	"vmsync/internal/store"
	"vmsync/internal/workdir"
	"vmsync/replicator"
	"vmsync/replicator/dataplane"
)

// Request says what to read back.
type Request struct {
	Store  string // absolute path
	Domain string // the replica's name
	State  string // as of store.Manifest.Find; unused with All
	All    bool   // every state
	// Repoint has the replica's domain boot the newest state that is not known to be
	// damaged. It is called when that may have become another one; nil does nothing.
	Repoint func(context.Context) error

	program string // vmsync-nbd, in tests
}

// scrub is one verification on its way.
type scrub struct {
	req     Request
	out     event.Sink
	program string
	dir     string // of sockets and indexes, private

	pins     []*store.Pin
	manifest *store.Manifest // as it was when the first state was pinned
	states   []verdict
	images   map[string]*finding
	// contents are the digests of what images read as, by their indexes.
	contents map[string]blockindex.Digest
	meter    *meter
	patient  time.Time // since when somebody else's work is waited for
}

// verdict is what was found out about a state.
type verdict struct {
	state *store.State // of the manifest that was pinned
	// files says what is wrong with the files beside the images.
	files            string
	damaged, unknown string
}

// Verify reads the states back and tells of each. An error of KindDamaged says that some
// are damaged, which the manifest now knows.
func Verify(ctx context.Context, req Request, out event.Sink) (err error) {
	s := &scrub{req: req, out: out, program: req.program, images: map[string]*finding{}, contents: map[string]blockindex.Digest{}}
	if s.program == "" {
		if s.program, err = dataplane.Program(); err != nil {
			return err
		}
	}
	dir, err := workdir.Make("vmsync-verify")
	if err != nil {
		return s.fail(replicator.KindOther, "verify", "", err)
	}
	defer func() { err = errors.Join(err, dir.Remove()) }()
	s.dir = dir.Path
	defer func() {
		for _, p := range s.pins {
			p.Release()
		}
	}()
	start := time.Now()
	if err := s.pin(ctx); err != nil {
		return err
	}
	if err := replicator.Phase(out, event.PhaseVerify, func() error { return s.read(ctx) }); err != nil {
		return err
	}
	s.judge()
	s.tell()
	if err := replicator.Phase(out, event.PhaseMark, func() error { return s.mark(ctx) }); err != nil {
		return err
	}
	return s.sumUp(time.Since(start))
}

// pin pins the states to read.
func (s *scrub) pin(ctx context.Context) error {
	name := s.req.State
	if s.req.All {
		name = store.Latest
	}
	first, err := Pin(ctx, s.req.Store, s.req.Domain, name, "verify")
	if err != nil {
		return err
	}
	s.pins, s.manifest = []*store.Pin{first}, first.Manifest
	if !s.req.All {
		s.states = []verdict{{state: first.State}}
		return nil
	}
	for i := range s.manifest.States {
		state := &s.manifest.States[i]
		if state.ID != first.State.ID {
			p, err := Pin(ctx, s.req.Store, s.req.Domain, state.ID, "verify")
			if replicator.KindOf(err) == replicator.KindNoState {
				continue // it has just been deleted
			}
			if err != nil {
				return err
			}
			s.pins = append(s.pins, p)
		}
		s.states = append(s.states, verdict{state: state})
	}
	return nil
}

// Pin is store.PinState with errors of the kinds that programs and people know.
func Pin(ctx context.Context, storeDir, domain, state, what string) (*store.Pin, error) {
	p, err := store.PinState(ctx, storeDir, domain, state, what)
	if err == nil {
		return p, nil
	}
	kind, hint := replicator.KindStore, ""
	switch {
	case errors.Is(err, fs.ErrNotExist):
		kind, hint = replicator.KindNoReplica, "see --store"
		err = fmt.Errorf("%s has no replica of this name", storeDir)
	case errors.Is(err, store.ErrNoState), errors.Is(err, store.ErrAmbiguous):
		kind, hint = replicator.KindNoState, "name one of them, as in "+domain+"@STATE"
	}
	return nil, &replicator.Error{Kind: kind, Domain: domain, Op: "find the state", Hint: hint, Err: err}
}

// read reads every image that a state needs, once, those that lie below before those
// that lie over them, and looks at the states' other files.
func (s *scrub) read(ctx context.Context) error {
	needed := map[string]bool{}
	for _, v := range s.states {
		for _, d := range v.state.Disks {
			for _, img := range s.manifest.Chain(d.Image) {
				needed[img.Name] = true
			}
		}
	}
	s.meter = s.newMeter(needed)
	// An image that is merged away while this goes on is merged into one that is read
	// later.
	for _, img := range s.manifest.Images {
		if !needed[img.Name] {
			continue
		}
		f, err := s.examine(ctx, img.Name)
		if err != nil {
			return err
		}
		s.images[img.Name] = f
		s.meter.finish(img)
	}
	for i := range s.states {
		s.states[i].files = s.lookAtFiles(s.states[i].state)
	}
	return nil
}

// judge puts together what was found about each state.
func (s *scrub) judge() {
	for i := range s.states {
		v := &s.states[i]
		v.damaged, v.unknown = v.files, ""
		for _, d := range v.state.Disks {
			for _, img := range s.manifest.Chain(d.Image) {
				f := s.images[img.Name]
				what := "disk " + d.Name + ": " + img.Name + ": "
				if f.damage != "" && (v.damaged == "" || v.damaged == v.files) {
					v.damaged = what + f.damage
				}
				if f.unknown != "" && v.unknown == "" {
					v.unknown = what + f.unknown
				}
			}
		}
		if v.damaged != "" {
			v.unknown = ""
		}
	}
}

func (s *scrub) tell() {
	head := s.manifest.Head()
	for _, v := range s.states {
		e := event.StateVerified{Domain: s.req.Domain, State: v.state.ID, Damaged: v.damaged, Unknown: v.unknown}
		switch {
		case v.damaged == "":
		case v.state.Generation != head.Generation:
			e.Hint = "vmsync restore refuses it; delete it: vmsync states delete " + s.req.Domain + "@" + v.state.ID
		case v.damaged == v.files:
			e.Hint = "the next sync makes a new state"
		default:
			e.Hint = "sync again: the next sync sends a full copy"
		}
		s.out.Emit(e)
	}
}

// sumUp ends a verification.
func (s *scrub) sumUp(took time.Duration) error {
	sum := event.Verified{Domain: s.req.Domain, States: len(s.states), Images: len(s.images), Duration: took}
	for _, f := range s.images {
		sum.Read += f.read
	}
	for _, v := range s.states {
		if v.damaged != "" {
			sum.Damaged++
		}
		if v.unknown != "" {
			sum.Unknown++
		}
	}
	s.out.Emit(sum)
	switch {
	case sum.Damaged > 0:
		return s.fail(replicator.KindDamaged, "verify", "each damaged state's line above says what to do",
			fmt.Errorf("%d of %d states are damaged", sum.Damaged, sum.States))
	case sum.Unknown > 0:
		return s.fail(replicator.KindBusy, "verify", "verify again when nothing else works on the replica",
			fmt.Errorf("%d of %d states could not be verified", sum.Unknown, sum.States))
	}
	return nil
}

func (s *scrub) fail(kind, op, hint string, err error) error {
	return &replicator.Error{Kind: kind, Domain: s.req.Domain, Op: op, Hint: hint, Err: err}
}

// path is where a file of the replica's is.
func (s *scrub) path(name string) string { return s.pins[0].Path(name) }

// load reads the manifest as it is now. It needs no lock: the file is replaced as a whole.
func (s *scrub) load() (*store.Manifest, error) {
	m, err := store.Read(s.req.Store, s.req.Domain)
	if err != nil {
		return nil, s.fail(replicator.KindStore, "read the manifest", "", err)
	}
	return m, nil
}
