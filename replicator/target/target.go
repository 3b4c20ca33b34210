// Package target is the target end of a replication: it keeps a replica's
// folder in a store, receives a stream into fresh images, makes it the head, and
// keeps the libvirt domain that boots it defined.
//
// The domain never uses an image of a state. It uses run overlays: throw-away
// images over the head, so that starting the replica, on purpose or by mistake,
// changes no state, and so that it can be told afterwards that it was started.
//
// The package must never change what a listed state reads as, and never overwrite a
// replica that runs or was run. An image that the manifest names changes only by a
// store.Step.
package target

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"

	"vmsync/internal/libvirt"
	"vmsync/internal/qemu"
	"vmsync/internal/store"
	"vmsync/replicator"
	"vmsync/replicator/dataplane"
)

// runRoot is where the sockets of a run live; nobody but root may enter it.
const runRoot = "/run/vmsync/target"

// Target implements replicator.TargetEnd on this host. Make one with [New] for
// each run.
type Target struct {
	reachedAt string

	program string // vmsync-nbd
	virt    *libvirt.Conn
	hostID  string // libvirt's
	qemuGID int    // group that qemu runs as; -1: libvirt leaves owners alone
	domain  string // the replica's name

	folder   *store.Folder
	manifest *store.Manifest
	// fresh is set while nothing but this run knows of the folder, which it made.
	fresh bool
	// before is the manifest of a replica without states that adopted another pair,
	// until it has a state.
	before *store.Manifest

	// domainStale is set when the domain is not there, or was defined over files in another
	// folder, which the replica was moved from.
	domainStale bool

	// prep is what Prepare made and Commit has not taken yet.
	prep *preparation
	// received is what the data plane reported.
	received *replicator.StreamResult
	readOnly bool // only a look was asked for: the folder is not locked

	// moved is set when the stream may have brought something.
	moved bool
	// useless is set when what was staged is of no use to a later run.
	useless bool
}

var _ replicator.TargetEnd = (*Target)(nil)

// preparation is the state of one Prepare.
type preparation struct {
	req     replicator.PrepareRequest
	dir     string      // of its sockets
	disks   []receiving // same order as req.Disks
	session *dataplane.Session
	// ctx outlives the call that made it; cancel ends the children.
	cancel context.CancelFunc
}

// resumed tells whether it goes on with what an earlier run has received.
func (p *preparation) resumed() bool {
	return slices.ContainsFunc(p.disks, func(d receiving) bool { return d.resumed })
}

// names are the images that were made or taken over for it.
func (p *preparation) names() []string {
	var names []string
	for _, d := range p.disks {
		if d.Image != "" {
			names = append(names, d.Image)
		}
	}
	return names
}

// New makes the target end of this host, which the controller reached at an address
// of SSH's, or at none.
func New(reachedAt string) *Target { return &Target{reachedAt: reachedAt} }

// fail makes an error about the replica.
func (t *Target) fail(kind string, op, disk, hint string, err error) error {
	return &replicator.Error{Kind: kind, Domain: t.domain, Disk: disk, Op: op, Hint: hint, Err: err}
}

// Open implements replicator.TargetEnd.
func (t *Target) Open(ctx context.Context, req replicator.OpenRequest) (*replicator.TargetView, error) {
	t.domain = req.TargetDomain
	if t.readOnly = req.ReadOnly; t.readOnly {
		return t.lookOnly(ctx, req)
	}
	if err := t.havePrograms(); err != nil {
		return nil, err
	}
	if err := t.openStore(ctx, req); err != nil {
		return nil, err
	}
	if err := t.connect(ctx); err != nil {
		return nil, err
	}
	if err := t.refuseRole(); err != nil {
		return nil, err
	}
	if err := t.refuseForeign(ctx); err != nil {
		return nil, err
	}
	if err := t.refuseUsed(ctx); err != nil {
		return nil, err
	}
	view := &replicator.TargetView{Pair: t.manifest.Pair, HostID: t.hostID, Folder: t.folder.Dir(),
		UUID: t.manifest.Source.UUID, LastUsed: t.manifest.LastGeneration, Keep: t.manifest.Keep, ReachedAt: t.reachedAt}
	var err error
	if view.Cleaned, view.Warnings, err = t.recover(ctx); err != nil {
		return nil, err
	}
	t.lookAtHead(view)
	return view, nil
}

// lookAtHead describes the newest state, if there is one.
func (t *Target) lookAtHead(view *replicator.TargetView) {
	state := t.manifest.Head()
	if state == nil {
		return
	}
	view.Head = &replicator.Head{Generation: state.Generation, Checkpoint: state.Checkpoint, Time: state.Time, Damaged: t.manifest.ImageDamage(state)}
	for _, d := range state.Disks {
		view.Head.Disks = append(view.Head.Disks, replicator.HeadDisk{Name: d.Name, Size: d.Size})
	}
	xml, err := state.ReadKept(t.folder.Dir(), state.DomainXML)
	if err != nil {
		view.Warnings = append(view.Warnings, fmt.Sprintf("the definition of state %s cannot be read: %v", state.ID, err))
	}
	view.Head.Images = replicator.SourceImages(string(xml))
	view.Head.Definition = libvirt.Digest(string(xml))
}

// connect opens libvirt.
func (t *Target) connect(ctx context.Context) error {
	virt, err := libvirt.Open(ctx)
	if err != nil {
		return t.fail(replicator.KindUnreachable, "connect to libvirt on the target", "", "is libvirtd running there?", err)
	}
	t.virt = virt
	host, err := virt.Host(ctx)
	if err != nil {
		return t.fail(replicator.KindUnreachable, "ask libvirt on the target about its host", "", "", err)
	}
	t.hostID, t.qemuGID = host.UUID, host.QemuGID
	return nil
}

// havePrograms looks for what a run needs before anything is begun.
func (t *Target) havePrograms() (err error) {
	if t.program, err = dataplane.Program(); err != nil {
		return err
	}
	for _, program := range []string{qemu.ImgProgram, qemu.NBDProgram} {
		if _, err := exec.LookPath(program); err != nil {
			return t.missing(program, "install it (Debian's package is qemu-utils)")
		}
	}
	return nil
}

func (t *Target) missing(program, fix string) error {
	host, err := os.Hostname()
	if err != nil {
		host = "the target"
	}
	return t.fail(replicator.KindProgramMissing, "look for programs on the target", "", fix+" on "+host,
		fmt.Errorf("%s is not installed on %s", program, host))
}

func (t *Target) openStore(ctx context.Context, req replicator.OpenRequest) error {
	const op = "open the store"
	if !filepath.IsAbs(req.Store) {
		return t.fail(replicator.KindUsage, op, "", "give --store an absolute path on the target", fmt.Errorf("%q is relative", req.Store))
	}
	if err := replicator.Patiently(ctx, func() (err error) {
		t.folder, err = store.Lock(filepath.Clean(req.Store), req.TargetDomain)
		if errors.Is(err, store.ErrBusy) {
			return t.fail(replicator.KindBusy, op, "", "", &replicator.BusyError{What: err.Error()})
		}
		return err
	}); err != nil {
		if replicator.KindOf(err) == replicator.KindBusy {
			return err
		}
		if errors.Is(err, syscall.EROFS) {
			return t.readOnlyStore(filepath.Clean(req.Store))
		}
		return t.fail(replicator.KindStore, op, "", "the store must be a folder on the target that root can write to; see --store", err)
	}
	var err error
	t.manifest, err = t.folder.Load()
	if errors.Is(err, fs.ErrNotExist) {
		t.manifest, err = t.folder.Create(req.TargetDomain)
		t.fresh = err == nil
	}
	if err != nil {
		return t.fail(replicator.KindStore, op, "", "nothing was changed", err)
	}
	return nil
}

// Wait implements replicator.TargetEnd.
func (t *Target) Wait(ctx context.Context, progress func(replicator.Progress)) (*replicator.StreamResult, error) {
	if t.prep == nil {
		return nil, errors.New("wait called before prepare")
	}
	t.moved = true
	disks, traffic, err := t.prep.session.Wait(ctx, progress)
	if err != nil {
		return nil, t.streamError(err)
	}
	t.received = &replicator.StreamResult{Traffic: traffic}
	for _, d := range disks {
		t.received.Disks = append(t.received.Disks, replicator.DiskResult(d))
	}
	return t.received, nil
}

// streamError adds to what the data plane says which replica it is about, and
// what to do.
func (t *Target) streamError(err error) error {
	var e *replicator.Error
	if !errors.As(err, &e) {
		return err
	}
	e.Domain = t.domain
	// A full file system must not be kept full, and of a stream that was wrong nothing
	// is to be believed.
	t.useless = e.Kind == replicator.KindNoSpace || e.Kind == replicator.KindStream
	switch e.Kind {
	case replicator.KindNoSpace:
		e.Hint = t.freeSpaceHint()
	case replicator.KindTarget, replicator.KindStream, replicator.KindPeer:
		e.Hint = "run it again; the replica is as it was"
	}
	return e
}

// Close implements replicator.TargetEnd.
func (t *Target) Close() error {
	var errs []error
	switch {
	case t.prep == nil:
	case t.prep.req.Resume && t.prep.session != nil && !t.useless && (t.moved || t.prep.resumed()) && t.leaveRoom("keep what came") == nil:
		errs = append(errs, t.leave())
	default:
		errs = append(errs, t.discard())
	}
	if t.virt != nil {
		t.virt.Close()
	}
	switch {
	case t.folder == nil, t.readOnly:
	case t.fresh:
		errs = append(errs, t.folder.Abandon())
	default:
		errs = append(errs, t.folder.Unlock())
	}
	return errors.Join(errs...)
}
