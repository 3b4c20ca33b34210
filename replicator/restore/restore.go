// Package restore writes a state of a replica out: to a folder, a file or a block device,
// and reads what it wrote back before it says so. It can define a machine of its own over
// the result.
//
// The state is pinned meanwhile (store.Pin) and no lock is held. What is under a final name
// is complete and verified, or was there before; only a block device, which has no other
// name, is written to directly. The package must never change anything in the store.
package restore

import (
	"context"
	"errors"
	"time"

	"vmsync/internal/event"
	"vmsync/internal/store"
	"vmsync/internal/workdir"
	"vmsync/replicator"
	"vmsync/replicator/dataplane"
	"vmsync/replicator/pinned"
	"vmsync/replicator/scrub"
)

// Request says what to restore and where to.
type Request struct {
	Store  string // absolute path
	Domain string // the replica's name
	State  string // as of store.Manifest.Find
	To     string // absolute path of a folder, a file or a block device
	// Disks are those to restore, by target device; empty for all.
	Disks  []string
	Format string // qemu.FormatQcow2 or FormatRaw; empty for what To suggests
	// Define names the domain to define over the result; empty for none.
	Define string
	Force  bool // overwrite files that exist
	Yes    bool // overwrite a block device

	program string // vmsync-nbd, in tests
}

// restore is one restore on its way.
type restore struct {
	req     Request
	out     event.Sink
	program string
	dir     string // of a socket and an index, private

	pin   *store.Pin
	disks []store.Disk // to restore
	dest  destination
	// madeFolder is set when the folder was not there before.
	madeFolder bool
	pieces     []piece
	done       *event.Restored
}

// Restore restores. On an error nothing is under a final name that was not there before,
// except that a domain which could not be defined leaves the files in place.
func Restore(ctx context.Context, req Request, out event.Sink) (_ *event.Restored, err error) {
	r := &restore{req: req, out: out, program: req.program}
	if r.program == "" {
		if r.program, err = dataplane.Program(); err != nil {
			return nil, err
		}
	}
	start := time.Now()
	if r.pin, err = scrub.Pin(ctx, req.Store, req.Domain, req.State, "restore to "+req.To); err != nil {
		return nil, err
	}
	defer r.pin.Release()
	if err := r.plan(ctx); err != nil {
		return nil, err
	}
	dir, err := workdir.Make("vmsync-restore")
	if err != nil {
		return nil, r.fail(replicator.KindOther, "", "", err)
	}
	defer func() { err = errors.Join(err, dir.Remove()) }()
	r.dir = dir.Path
	defer func() { err = errors.Join(err, r.cleanUp()) }()
	if err := replicator.Phase(out, event.PhaseRestore, func() error { return r.write(ctx) }); err != nil {
		return nil, err
	}
	if err := replicator.Phase(out, event.PhaseCheck, func() error { return r.check(ctx) }); err != nil {
		return nil, err
	}
	if err := r.place(); err != nil {
		return nil, err
	}
	if req.Define != "" {
		if err := replicator.Phase(out, event.PhaseDefine, func() error { return r.define(ctx) }); err != nil {
			return nil, err
		}
	}
	r.done.Duration = time.Since(start)
	return r.done, nil
}

// plan decides what is written where, and refuses what cannot be.
func (r *restore) plan(ctx context.Context) error {
	var err error
	if r.disks, err = pinned.Disks(r.pin, "restore", r.req.Disks); err != nil {
		return err
	}
	if r.dest, err = classify(r.req.To); err != nil {
		return r.usage(err)
	}
	if err := pinned.OutsideReplica(r.pin, r.req.To); err != nil {
		return r.usage(err)
	}
	if r.pieces, err = layout(r.dest, r.disks, r.req.Format, r.extras()); err != nil {
		return r.usage(err)
	}
	if r.req.Define != "" {
		if r.dest.kind != folder {
			return r.usage(errors.New("--define needs a folder to restore to"))
		}
		if err := r.refuseTaken(ctx); err != nil {
			return err
		}
	}
	return r.refuseExisting()
}

// extras are the files of the state beside the disks, by the name that they get.
func (r *restore) extras() map[string]string {
	s := r.pin.State
	files := map[string]string{"domain.xml": s.DomainXML}
	if s.NVRAM != "" {
		files["nvram.fd"] = s.NVRAM
	}
	if s.TPM != "" {
		files["tpm.tar"] = s.TPM
	}
	return files
}

func (r *restore) fail(kind, disk, hint string, err error) error {
	return &replicator.Error{Kind: kind, Domain: r.req.Domain, Disk: disk, Op: "restore", Hint: hint, Err: err}
}

func (r *restore) usage(err error) error {
	return &replicator.Error{Kind: replicator.KindUsage, Domain: r.req.Domain, Op: "restore", Hint: "see vmsync restore --help", Err: err}
}
