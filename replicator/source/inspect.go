package source

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"vmsync/internal/domainxml"
	"vmsync/internal/libvirt"
	"vmsync/internal/pin"
	"vmsync/replicator"
	"vmsync/replicator/dataplane"
	"vmsync/replicator/source/ours"
)

// Inspect implements replicator.SourceEnd.
func (e *End) Inspect(ctx context.Context, req replicator.InspectRequest) (*replicator.SourceView, error) {
	const op = "inspect the domain"
	if e.closed || e.dom != nil {
		return nil, e.sequence(op)
	}
	if req.Domain == "" {
		return nil, e.fail(replicator.KindRequest, op, "", errors.New("no domain is named"))
	}
	// Whatever a run needs is looked for before a guest is frozen for it.
	var err error
	if e.opts.Place == (ours.Place{}) {
		if e.opts.Place, err = ours.Here(); err != nil {
			return nil, err
		}
	}
	if e.opts.DataPlane == "" {
		if e.opts.DataPlane, err = dataplane.Program(); err != nil {
			return nil, err
		}
	}
	if e.identity, err = pin.New(); err != nil {
		return nil, e.fail("", op, "", err)
	}
	if err := e.connect(ctx, op); err != nil {
		return nil, err
	}
	host, err := e.conn.Host(ctx)
	if err != nil {
		return nil, e.fail("", op, "", err)
	}
	dom, err := e.lookup(ctx, op, req.Domain)
	if err != nil {
		return nil, err
	}
	view := &replicator.SourceView{Name: dom.Name, UUID: dom.UUID, HostID: host.UUID,
		Certificate: e.identity.Certificate, SeenFrom: e.opts.SeenFrom, OverTLS: e.opts.ForClient}
	if err := e.takeLock(ctx, dom, req.ReadOnly, view); err != nil {
		return nil, err
	}
	if req.Run != "" {
		e.log = e.log.With("RUN", req.Run)
	}
	e.dom, e.hostID, e.readOnly = dom, host.UUID, req.ReadOnly
	look := e.look
	if e.readOnly {
		look = e.lookOnly
	}
	if err := look(ctx, view); err != nil {
		return nil, e.fail("", op, "", err)
	}
	return view, nil
}

// takeLock takes the run's lock, or, for a mere look, says who holds it.
func (e *End) takeLock(ctx context.Context, dom *libvirt.Domain, readOnly bool, view *replicator.SourceView) error {
	what := "sync of " + dom.Name
	if readOnly {
		what = "look at " + dom.Name
	}
	take := func() (err error) {
		if e.lock, err = ours.TakeLock(e.opts.Place.RunDir, dom.UUID, what); err != nil {
			return &replicator.Error{Kind: kindOf(err), Domain: dom.Name, Op: "inspect the domain", Err: err}
		}
		return nil
	}
	if !readOnly {
		return replicator.Patiently(ctx, take)
	}
	err := take()
	if busy, ok := errors.AsType[*replicator.BusyError](err); ok {
		view.HeldBy = busy.Error()
		return nil
	}
	return err
}

// look fills the view. The lock is held: whatever carries vmsync's names is of a dead
// run.
func (e *End) look(ctx context.Context, view *replicator.SourceView) error {
	if err := e.thawLeftFrozen(ctx, view); err != nil {
		return err
	}
	state, err := e.dom.State(ctx)
	if err != nil {
		return err
	}
	view.Running, view.State = state.BackupPossible(), state.String()
	if view.Running {
		if err := e.endLeftJob(ctx, view); err != nil {
			return err
		}
	}
	if err := e.lookAtDisks(ctx, view); err != nil {
		return err
	}
	if view.Running && view.BusyWith == "" {
		if err := e.lookForBlockJobs(ctx, view); err != nil {
			return err
		}
	}
	if view.BusyWith == "" {
		if err := e.removeLeftFiles(view); err != nil {
			return err
		}
		e.deletePending(ctx, view)
	}
	if view.Running {
		if err := e.lookAtShape(ctx, view); err != nil {
			return err
		}
	}
	return e.lookAtCheckpoints(ctx, view)
}

// lookAtShape fills in the shape, if libvirt can tell.
func (e *End) lookAtShape(ctx context.Context, view *replicator.SourceView) error {
	shape, err := e.dom.Shape(ctx)
	if err != nil {
		e.log.Info("the domain's shape cannot be told", "domain", e.dom.Name, "error", err)
		return ctx.Err()
	}
	view.Shape = replicator.Shape(shape)
	return nil
}

// deletePending deletes the checkpoint of a stream that a dead run did not send to
// its end. No job is active.
func (e *End) deletePending(ctx context.Context, view *replicator.SourceView) {
	name, err := ours.Pending(e.opts.Place.RunDir, e.dom.UUID)
	if name == "" && err == nil {
		return
	}
	if err == nil {
		err = e.removeCheckpoint(ctx, name)
	}
	if err == nil {
		err = ours.Unpend(e.opts.Place.RunDir, e.dom.UUID)
	}
	if err != nil {
		// It is in nobody's way, and the mark stays for the next try.
		view.Warnings = append(view.Warnings, fmt.Sprintf("the checkpoint of a dead send is left: %v", err))
		return
	}
	view.Cleaned = append(view.Cleaned, "deleted checkpoint "+name+" of a send that did not end")
}

func (e *End) thawLeftFrozen(ctx context.Context, view *replicator.SourceView) error {
	marked, err := ours.MarkedFrozen(e.opts.Place.RunDir, e.dom.UUID)
	if err != nil || !marked {
		return err
	}
	e.boundAgent(ctx, ours.AgentTimeout)
	if err := ours.Thaw(ctx, e.dom, e.opts.Place.RunDir); err != nil {
		// The copy can go on without the agent's help; the mark stays for the next try.
		view.Warnings = append(view.Warnings, fmt.Sprintf("a dead sync may have left the guest frozen, and it cannot be thawed: %v", err))
		return ctx.Err()
	}
	view.Cleaned = append(view.Cleaned, "thawed the guest, which a dead sync may have left frozen")
	return nil
}

// endLeftJob ends a backup job that vmsync began: its owner is dead, or it would
// hold the lock.
func (e *End) endLeftJob(ctx context.Context, view *replicator.SourceView) error {
	ended, err := ours.EndJob(ctx, e.dom, ours.IsJob)
	if err != nil {
		return err
	}
	if ended {
		view.Cleaned = append(view.Cleaned, "ended the backup job of a dead sync")
		if state, err := e.dom.State(ctx); err == nil && state.PausedByIOError() {
			// Its scratch file filled the disk. Ending the job alone leaves the guest
			// stopped.
			if err := e.dom.Resume(ctx); err != nil {
				return err
			}
			view.Cleaned = append(view.Cleaned, "resumed the guest, which that job's scratch file had stopped")
			if state, err = e.dom.State(ctx); err == nil {
				view.State = state.String()
			}
		}
	}
	job, err := e.job(ctx)
	if err != nil && !errors.Is(err, libvirt.ErrOperationInvalid) {
		return err
	}
	view.BusyWith, view.JobLost = job, job == libvirt.JobVague
	return nil
}

func (e *End) lookForBlockJobs(ctx context.Context, view *replicator.SourceView) error {
	for _, d := range view.Disks {
		if d.Ignored || d.Unfit != "" {
			continue
		}
		job, err := e.dom.BlockJob(ctx, d.Name)
		if err != nil {
			return err
		}
		if job != libvirt.JobNone {
			view.BusyWith = fmt.Sprintf("%s of disk %s", job, d.Name)
			return nil
		}
	}
	return nil
}

func (e *End) lookAtDisks(ctx context.Context, view *replicator.SourceView) error {
	// The live definition names the images in use now, e.g. after a snapshot. Of a
	// domain that is off it is the definition of its next start.
	text, err := e.dom.XML(ctx, libvirt.Live)
	if err != nil {
		return err
	}
	doc, err := domainxml.Parse(text)
	if err != nil {
		return err
	}
	e.drives = doc.Disks()
	e.disks = make(map[string]replicator.SourceDisk, len(e.drives))
	for _, drive := range e.drives {
		disk := replicator.SourceDisk{Name: drive.Name, Path: drive.Path, Format: drive.Format, Ignored: ignored(drive)}
		if !disk.Ignored {
			if err := e.lookAtDisk(ctx, drive, &disk); err != nil {
				return err
			}
		}
		e.disks[disk.Name] = disk
		view.Disks = append(view.Disks, disk)
	}
	return nil
}

func (e *End) lookAtDisk(ctx context.Context, drive domainxml.Disk, disk *replicator.SourceDisk) error {
	var head header
	if drive.Format == "qcow2" && drive.Path != "" {
		var err error
		if head, err = readHeader(drive.Path); err != nil {
			e.log.Info("image cannot be read directly", "domain", e.dom.Name, "disk", drive.Name, "error", err)
		}
	}
	disk.Unfit = unfit(drive, head)
	size, err := e.dom.Size(ctx, drive.Name)
	switch {
	case err == nil:
		disk.Size = size
	case ctx.Err() != nil || errors.Is(err, libvirt.ErrDisconnected):
		return err
	case disk.Unfit == "":
		disk.Unfit = fmt.Sprintf("libvirt cannot tell its size: %v", err)
	}
	return nil
}

// removeLeftFiles removes scratch files, sockets and socket folders of dead runs. No job is
// active and the lock is held: nobody uses them.
func (e *End) removeLeftFiles(view *replicator.SourceView) error {
	for _, drive := range e.drives {
		if drive.Path == "" || ignored(drive) {
			continue
		}
		removed, err := ours.RemoveScratch(e.image(drive))
		for _, path := range removed {
			view.Cleaned = append(view.Cleaned, "removed the scratch file "+path+" of a dead sync")
		}
		if err != nil {
			return err
		}
	}
	if !e.opts.Place.Account {
		removed, err := ours.RemoveSockets(libvirtQemuDir, e.dom.Name)
		for _, path := range removed {
			view.Cleaned = append(view.Cleaned, "removed the socket "+path+" of a dead sync")
		}
		if err != nil {
			return err
		}
	}
	return errors.Join(os.RemoveAll(e.exportFolder()), os.RemoveAll(e.runFolder()), os.RemoveAll(e.hashFolder()))
}

func (e *End) lookAtCheckpoints(ctx context.Context, view *replicator.SourceView) error {
	all, err := e.dom.Checkpoints(ctx)
	if err != nil {
		return err
	}
	e.checkpoints = vmsyncCheckpoints(all)
	view.Checkpoints = e.checkpoints
	e.lookForOrphans(view)
	return nil
}

// vmsyncCheckpoints picks the checkpoints that vmsync made, for whichever pair,
// each pair's oldest first.
func vmsyncCheckpoints(all []libvirt.Checkpoint) []replicator.SourceCheckpoint {
	var own []replicator.SourceCheckpoint
	for _, c := range all {
		if _, generation, ok := replicator.ParseCheckpointName(c.Name); ok {
			own = append(own, replicator.SourceCheckpoint{Name: c.Name, Generation: generation, Disks: c.Disks})
		}
	}
	slices.SortFunc(own, func(a, b replicator.SourceCheckpoint) int {
		if c := cmp.Compare(a.Generation, b.Generation); c != 0 {
			return c
		}
		return strings.Compare(a.Name, b.Name)
	})
	return own
}
