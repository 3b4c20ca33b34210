package source

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"vmsync/internal/libvirt"
	"vmsync/nbdproxy/spec"
	"vmsync/replicator"
	"vmsync/replicator/dataplane"
	"vmsync/replicator/source/guard"
	"vmsync/replicator/source/ours"
)

// attempt is a Begin on its way.
type attempt struct {
	req    replicator.BeginRequest
	state  libvirt.State // of the domain, before
	backup libvirt.Backup
	rooms  []*room // of its scratch files
	run    *run    // becomes the end's once its job may exist

	backupXML, checkpointXML string

	refused string // why the client's own wish for a direct connection was not heeded

	steps // of a group only
}

// Begin implements replicator.SourceEnd.
//
// After an error of kind checkpoint-inconsistent nothing was begun, and Begin may be
// called again, with every disk full and the old checkpoints in Forget. After any
// other error only Close may follow.
func (e *End) Begin(ctx context.Context, req replicator.BeginRequest) (*replicator.Begun, error) {
	a, err := e.ready(ctx, req)
	if err != nil {
		return nil, err
	}
	began, err := e.start(ctx, a)
	if err != nil {
		return nil, err
	}
	if !req.HashOnly {
		return began, e.offer(ctx, a, began)
	}
	if err := e.describeDisks(ctx, req, began); err != nil {
		return nil, err
	}
	return began, e.hash(ctx, a.backup, began)
}

// ready does what is to be done before the guest is frozen.
func (e *End) ready(ctx context.Context, req replicator.BeginRequest) (*attempt, error) {
	const op = "begin the backup"
	if e.closed || e.dom == nil || e.run != nil || e.attempt != nil || e.readOnly {
		return nil, e.sequence(op)
	}
	state, err := e.dom.State(ctx)
	if err != nil {
		return nil, e.fail("", op, "", err)
	}
	if !state.BackupPossible() {
		return nil, e.fail(replicator.KindDomainOff, op, "start it, or wait for its next start", fmt.Errorf("the domain is %s", state))
	}
	refused := e.boundDirect(&req)
	if err := e.adopt(ctx, req); err != nil {
		return nil, err
	}
	if err := e.checkRequest(req); err != nil {
		return nil, err
	}
	if req.Parent != "" {
		images, err := e.dom.CheckpointImages(ctx, req.Parent)
		if err == nil {
			err = checkPlaces(e.drives, req, images)
		}
		if err != nil {
			return nil, e.withDomain(op, err)
		}
	}
	for _, name := range req.Forget {
		if err := e.deleteCheckpoint(ctx, name); err != nil {
			return nil, e.fail("", "delete checkpoint "+name, "", err)
		}
	}
	a := &attempt{req: req, state: state, refused: refused, run: &run{checkpoint: req.Checkpoint, dir: e.streamFolder(), described: req.Describe != nil}}
	return a, e.makeReady(ctx, a)
}

// makeReady makes what the call needs, and looks whether it can be made.
func (e *End) makeReady(ctx context.Context, a *attempt) error {
	const op = "begin the backup"
	socket, err := e.exportSocket(ctx)
	if err != nil {
		return e.fail("", op, "", err)
	}
	backup, checkpoint := backupOf(e.drives, a.req, socket, e.opts.Place)
	a.backup = backup
	if a.backupXML, err = backup.XML(); err != nil {
		return e.fail("", op, "", err)
	}
	if a.checkpointXML, err = checkpoint.XML(); err != nil {
		return e.fail("", op, "", err)
	}
	if a.rooms, err = e.checkScratch(e.scratchFiles(backup)); err != nil {
		return err
	}
	if err := e.startGuard(ctx); err != nil {
		return err
	}
	// Libvirt lets a backup wait for 30 s for another job to end: look before the
	// guest is frozen for that.
	job, err := e.dom.Job(ctx)
	if err != nil {
		return e.fail("", op, "", err)
	}
	if job != libvirt.JobNone {
		return e.fail(replicator.KindJobActive, op, "try again when it is done", fmt.Errorf("another job runs: %s", job))
	}
	return nil
}

// start freezes, begins the backup and thaws. From the freeze on it does not heed ctx's
// end, but every step is bounded.
func (e *End) start(ctx context.Context, a *attempt) (began *replicator.Begun, err error) {
	if a.req.HashOnly {
		began, err = e.beginBare(context.WithoutCancel(ctx), a)
	} else {
		began, err = e.beginFrozen(context.WithoutCancel(ctx), a)
	}
	if err != nil {
		return nil, err
	}
	e.watcher = e.startWatch(a.rooms, a.state.PausedByIOError())
	return began, e.checkBegun(ctx, a)
}

// checkBegun looks whether the job is the one that was asked for.
func (e *End) checkBegun(ctx context.Context, a *attempt) error {
	got, err := e.dom.Backup(ctx)
	if err == nil {
		err = checkJob(a.backup, got)
	}
	if err != nil {
		return e.fail("", "begin the backup", "", err)
	}
	return nil
}

// offer completes what was begun with what belongs to the state, and starts the data
// plane on it.
func (e *End) offer(ctx context.Context, a *attempt, began *replicator.Begun) error {
	const op = "begin the backup"
	if err := e.lookAtFirmware(ctx, began); err != nil {
		return e.fail("", "read the UEFI variables and the TPM", "", err)
	}
	var err error
	if began.DomainXML, err = e.dom.XML(ctx, libvirt.Portable); err != nil {
		return e.fail("", op, "", err)
	}
	if err := e.describeDisks(ctx, a.req, began); err != nil {
		return err
	}
	doc, err := e.document(a.req, a.backup, began)
	if err != nil {
		return e.fail("", op, "", err)
	}
	if err := e.serve(ctx, doc, began); err != nil {
		return err
	}
	began.NotDirect = cmp.Or(began.NotDirect, a.refused)
	return nil
}

// startGuard starts the guard, unless a former Begin of this run has.
func (e *End) startGuard(ctx context.Context) error {
	if e.guard != nil {
		return nil
	}
	const op = "start the guard"
	argv := e.opts.Guard
	if len(argv) == 0 {
		self, err := os.Executable()
		if err != nil {
			return e.fail("", op, "", err)
		}
		argv = []string{self, "guard"}
	}
	var err error
	if e.guard, err = guard.Start(ctx, argv); err != nil {
		return e.fail("", op, "", err)
	}
	return nil
}

// describeDisks tells what is exported. Sizes are asked for again: one may have been
// changed since Inspect, and vmsync-nbd refuses an export of another size.
func (e *End) describeDisks(ctx context.Context, req replicator.BeginRequest, began *replicator.Begun) error {
	for _, d := range req.Disks {
		size, err := e.dom.Size(ctx, d.Name)
		if err != nil {
			return e.fail("", "begin the backup", "", err)
		}
		began.Disks = append(began.Disks, replicator.BegunDisk{Name: d.Name, Size: size, Incremental: d.Parent != ""})
	}
	return nil
}

// document makes what vmsync-nbd gets.
func (e *End) document(req replicator.BeginRequest, backup libvirt.Backup, began *replicator.Begun) (*spec.Serve, error) {
	began.Socket = filepath.Join(e.run.dir, "stream.sock")
	if err := ours.CheckSocketPath(began.Socket); err != nil {
		return nil, err
	}
	doc := serveOf(e.dom.Name, req, backup, began.Disks, began.Socket, e.identity, e.known.paths())
	if req.Describe == nil {
		return &doc, nil
	}
	state := replicator.StreamState{Time: began.Time, Consistency: began.Consistency, FrozenSeconds: began.Frozen.Seconds(),
		Source:    replicator.StreamSource{UUID: e.dom.UUID, Host: req.Describe.SourceHost, HostID: e.hostID},
		DomainXML: began.DomainXML, LeftOut: req.Describe.LeftOut}
	began.Warnings = append(began.Warnings, state.SetFirmware(began.NVRAM, began.TPM)...)
	var err error
	doc.State, err = state.Encode()
	return &doc, err
}

// serve starts the data plane and waits until it listens.
func (e *End) serve(ctx context.Context, doc *spec.Serve, began *replicator.Begun) error {
	const op = "offer the stream"
	// A folder of a former run of that name would be a bug; its contents are nobody's.
	if err := os.RemoveAll(e.run.dir); err != nil {
		return e.fail("", op, "", err)
	}
	if err := os.MkdirAll(e.run.dir, 0o700); err != nil {
		return e.fail("", op, "", err)
	}
	var err error
	e.session, err = dataplane.Start(ctx, e.opts.DataPlane, dataplane.Serve, doc)
	if err != nil {
		return e.withDomain(op, err)
	}
	ready, err := e.session.Ready(ctx)
	if err != nil {
		return e.withDomain(op, err)
	}
	began.Direct, began.NotDirect = ready.Connected, ready.Why
	return nil
}

// withDomain names the domain in an error of the data plane.
func (e *End) withDomain(op string, err error) error {
	if typed, ok := errors.AsType[*replicator.Error](err); ok {
		named := *typed
		named.Domain = e.dom.Name
		return &named
	}
	return e.fail("", op, "", err)
}
