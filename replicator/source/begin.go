package source

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"vmsync/internal/libvirt"
	"vmsync/replicator"
	"vmsync/replicator/dataplane"
	"vmsync/replicator/source/guard"
	"vmsync/replicator/source/ours"
)

const (
	// beginTimeout bounds the one call that the guest is frozen for. Libvirt itself
	// gives up after 30 s on a domain that another call holds.
	beginTimeout = 35 * time.Second
	// libvirtQemuDir has a folder for each running domain, which qemu may write to
	// under any security driver and which libvirt removes when the domain stops.
	libvirtQemuDir = "/var/lib/libvirt/qemu"
)

// Begin implements replicator.SourceEnd.
//
// After an error of kind checkpoint-inconsistent nothing was begun, and Begin may be
// called again, with every disk full and the old checkpoints in Forget. After any
// other error only Close may follow.
func (e *End) Begin(ctx context.Context, req replicator.BeginRequest) (*replicator.Begun, error) {
	const op = "begin the backup"
	if e.closed || e.dom == nil || e.run != nil {
		return nil, e.sequence(op)
	}
	state, err := e.dom.State(ctx)
	if err != nil {
		return nil, e.fail("", op, "", err)
	}
	if !state.BackupPossible() {
		return nil, e.fail(replicator.KindDomainOff, op, "start it, or wait for its next start", fmt.Errorf("the domain is %s", state))
	}
	if err := e.checkRequest(req); err != nil {
		return nil, err
	}
	for _, name := range req.Forget {
		if err := e.deleteCheckpoint(ctx, name); err != nil {
			return nil, e.fail("", "delete checkpoint "+name, "", err)
		}
	}
	socket, err := e.exportSocket(ctx)
	if err != nil {
		return nil, e.fail("", op, "", err)
	}
	backup, checkpoint := backupOf(e.drives, req, socket)
	started, err := e.start(ctx, state, req, backup, checkpoint)
	if err != nil {
		return nil, err
	}
	if started.DomainXML, err = e.dom.XML(ctx, libvirt.Portable); err != nil {
		return nil, e.fail("", op, "", err)
	}
	if err := e.describeDisks(ctx, req, started); err != nil {
		return nil, err
	}
	if err := e.serve(ctx, req, backup, started); err != nil {
		return nil, err
	}
	return started, nil
}

// start freezes, begins the backup and thaws. From the freeze on it does not heed
// ctx's end, but every step is bounded.
func (e *End) start(ctx context.Context, state libvirt.State, req replicator.BeginRequest, backup libvirt.Backup, checkpoint libvirt.Checkpoint) (*replicator.Begun, error) {
	const op = "begin the backup"
	backupXML, err := backup.XML()
	if err != nil {
		return nil, e.fail("", op, "", err)
	}
	checkpointXML, err := checkpoint.XML()
	if err != nil {
		return nil, e.fail("", op, "", err)
	}
	r := &run{checkpoint: req.Checkpoint, scratch: e.scratchFiles(backup), dir: e.runFolder()}
	if err := e.checkScratch(r.scratch); err != nil {
		return nil, err
	}
	if e.guard == nil {
		argv := e.opts.Guard
		if len(argv) == 0 {
			self, err := os.Executable()
			if err != nil {
				return nil, e.fail("", "start the guard", "", err)
			}
			argv = []string{self, "guard"}
		}
		if e.guard, err = guard.Start(ctx, argv); err != nil {
			return nil, e.fail("", "start the guard", "", err)
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, e.fail("", op, "", context.Cause(ctx))
	}
	ctx = context.WithoutCancel(ctx)
	frozen := e.freeze(ctx, state)
	hitFreeze()

	began := &replicator.Begun{Time: time.Now().UTC(), Consistency: replicator.ConsistencyFilesystem, Warning: frozen.warning}
	e.run = r
	beginErr := e.beginBackup(ctx, r, backupXML, checkpointXML)
	hitBegin()
	stillFrozen, _ := ours.MarkedFrozen(e.opts.RunDir, e.dom.UUID)
	if e.frozen {
		bounded, cancel := context.WithTimeout(ctx, thawTimeout)
		err := e.thaw(bounded)
		cancel()
		if err != nil {
			return nil, errors.Join(e.fail("", "thaw the guest", "a guard goes on trying for 10 minutes; reset the guest if it hangs", err), beginErr)
		}
		began.Frozen = time.Since(frozen.since)
	}
	hitThaw()
	if beginErr != nil {
		return nil, beginErr
	}
	switch {
	case !frozen.ok:
		began.Consistency = replicator.ConsistencyCrash
	case !stillFrozen:
		// This process was stopped for so long that the guard thawed.
		began.Consistency, began.Warning = replicator.ConsistencyCrash, "the guest was thawed before the checkpoint was made"
	}
	got, err := e.dom.Backup(ctx)
	if err != nil {
		return nil, e.fail("", op, "", err)
	}
	if err := checkJob(backup, got); err != nil {
		return nil, e.fail("", op, "", err)
	}
	return began, nil
}

// beginBackup makes the one call that is the checkpoint's instant.
func (e *End) beginBackup(ctx context.Context, r *run, backupXML, checkpointXML string) error {
	const op = "begin the backup"
	if err := e.guard.Tell(guard.Message{Event: guard.EventBeginning, Domain: e.dom.UUID, Checkpoint: r.checkpoint}); err != nil {
		e.run = nil
		return e.fail("", op, "", err)
	}
	r.job, r.made = true, true
	bounded, cancel := context.WithTimeout(ctx, beginTimeout)
	defer cancel()
	err := e.dom.BeginBackup(bounded, backupXML, checkpointXML)
	if err == nil {
		r.certain = true
		if err := e.guard.Tell(guard.Message{Event: guard.EventBegun}); err != nil {
			return e.fail("", op, "", err)
		}
		return nil
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, libvirt.ErrDisconnected) {
		// Whether it has begun, or still will, is unknown: Close looks.
		return e.fail(replicator.KindUnreachable, op, "", err)
	}
	// Libvirt refused: it leaves neither job nor checkpoint.
	e.run = nil
	if err := e.guard.Tell(guard.Message{Event: guard.EventEnded}); err != nil {
		e.log.Warn("the guard is gone", "error", err)
	}
	return e.refused(ctx, r.checkpoint, err)
}

// refused explains why libvirt began nothing.
func (e *End) refused(ctx context.Context, checkpoint string, err error) error {
	const op = "begin the backup"
	switch {
	case errors.Is(err, libvirt.ErrUnsupported):
		return e.fail("", op, "incremental backup needs qcow2 images and libvirt 7.2 or newer with qemu 4.2 or newer", err)
	case errors.Is(err, libvirt.ErrTimeout):
		return e.fail("", op, "another program holds the domain; try again later", err)
	case errors.Is(err, libvirt.ErrOperationFailed):
		if all, listErr := e.dom.Checkpoints(ctx); listErr == nil {
			for _, c := range all {
				if c.Name == checkpoint {
					return e.fail(replicator.KindCheckpointInUse, op, "the next sync takes another name", err)
				}
			}
		}
	case errors.Is(err, libvirt.ErrOperationInvalid):
		if state, stateErr := e.dom.State(ctx); stateErr == nil && !state.BackupPossible() {
			return e.fail(replicator.KindDomainStopped, op, "", fmt.Errorf("the domain is %s: %w", state, err))
		}
		if job, jobErr := e.dom.Job(ctx); jobErr == nil && job != libvirt.JobNone {
			return e.fail(replicator.KindJobActive, op, "try again when it is done", fmt.Errorf("a %s runs: %w", job, err))
		}
	}
	return e.fail("", op, "", err)
}

// exportSocket is where qemu is to listen.
func (e *End) exportSocket(ctx context.Context) (string, error) {
	id, err := e.dom.ID(ctx)
	if err != nil {
		return "", err
	}
	// The folder's name goes on with a shortened form of the domain's name.
	folders, err := filepath.Glob(filepath.Join(libvirtQemuDir, fmt.Sprintf("domain-%d-*", id)))
	if err != nil {
		return "", err
	}
	dir := ""
	if len(folders) == 1 {
		dir = folders[0]
	} else if dir, err = e.makeExportFolder(ctx); err != nil {
		return "", err
	}
	socket := filepath.Join(dir, ours.SocketName(e.pair))
	if err := ours.CheckSocketPath(socket); err != nil {
		return "", err
	}
	// A killed qemu leaves its socket. The lock is held and no job is active.
	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	return socket, nil
}

// makeExportFolder makes a folder that only qemu's user and root can enter, for
// hosts whose libvirt keeps its folders elsewhere.
func (e *End) makeExportFolder(ctx context.Context) (string, error) {
	host, err := e.conn.Host(ctx)
	if err != nil {
		return "", err
	}
	// qemu passes through the parents, so they must be open to it; what they hold is
	// not secret and has modes of its own.
	if err := os.MkdirAll(e.opts.RunDir, 0o711); err != nil {
		return "", err
	}
	if err := os.Chmod(e.opts.RunDir, 0o711); err != nil {
		return "", err
	}
	parent := filepath.Join(e.opts.RunDir, "export")
	if err := os.MkdirAll(parent, 0o711); err != nil {
		return "", err
	}
	dir := filepath.Join(parent, e.dom.UUID)
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	if host.QemuUID >= 0 {
		if err := os.Lchown(dir, host.QemuUID, host.QemuGID); err != nil {
			return "", err
		}
	}
	return dir, nil
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

// serve starts the data plane and waits until it listens.
func (e *End) serve(ctx context.Context, req replicator.BeginRequest, backup libvirt.Backup, began *replicator.Begun) error {
	const op = "offer the stream"
	// A folder of a former run of that name would be a bug; its contents are nobody's.
	if err := os.RemoveAll(e.run.dir); err != nil {
		return e.fail("", op, "", err)
	}
	if err := os.MkdirAll(e.run.dir, 0o700); err != nil {
		return e.fail("", op, "", err)
	}
	began.Socket = filepath.Join(e.run.dir, "stream.sock")
	if err := ours.CheckSocketPath(began.Socket); err != nil {
		return e.fail("", op, "", err)
	}
	var err error
	e.session, err = dataplane.Start(ctx, e.opts.DataPlane, dataplane.Serve, serveOf(e.dom.Name, req, backup, began.Disks, began.Socket))
	if err != nil {
		return e.withDomain(op, err)
	}
	if err := e.session.Ready(ctx); err != nil {
		return e.withDomain(op, err)
	}
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
