// Package export serves a state's disks over NBD: each image by a qemu-nbd of its own, and
// all of them to the world by one vmsync-nbd, which knows who may connect. To write is
// possible to throw-away overlays over the images.
//
// The state is pinned meanwhile (store.Pin) and no lock is held. The package must never
// change anything in the store, and never leave anything behind but what was asked to be
// kept: its programs die with it, and what a killed one has left of its overlays the next
// export removes.
package export

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"vmsync/internal/event"
	"vmsync/internal/proc"
	"vmsync/internal/qemu"
	"vmsync/internal/store"
	"vmsync/internal/workdir"
	"vmsync/replicator"
	"vmsync/replicator/dataplane"
	"vmsync/replicator/pinned"
	"vmsync/replicator/scrub"
)

// Request says what to export, where and how.
type Request struct {
	Store  string // absolute path
	Domain string // the replica's name
	State  string // as of store.Manifest.Find
	// Disks are those to export, by target device; empty for all.
	Disks []string

	// Unix is the absolute path of a unix socket, or TCP is an address, host:port. For TCP
	// there may be TLS, a folder of certificates, and Clients, names of those to let in; see
	// vmsync-nbd proxy.
	Unix    string
	TCP     string
	TLS     string
	Clients []string

	// Writable lets clients write to overlays, which are thrown away at the end.
	Writable bool
	// Keep is an absolute path where copies of what the overlays read as are kept; see
	// [layout]. Empty for nowhere.
	Keep string
	// Keeping bounds the work of keeping, which begins when the export's own context has
	// ended. Nil stands for no bound.
	Keeping func() (context.Context, context.CancelFunc)

	Log io.Writer // vmsync-nbd's log of clients; nil for nowhere

	program string // vmsync-nbd, in tests
}

// export is one export on its way.
type export struct {
	req     Request
	out     event.Sink
	program string
	dir     string // of sockets and overlays, private

	pin    *store.Pin
	disks  []served
	copies []kept
	front  *front
}

// served is a disk with the qemu-nbd that serves it.
type served struct {
	store.Disk
	overlay string // path; empty for the state's own image
	server  *qemu.Server
}

// Serve exports until ctx ends, and returns nil then, or until one of its programs ends,
// which is an error. Whichever it is, what was written is kept, if that was asked for.
func Serve(ctx context.Context, req Request, out event.Sink) (err error) {
	e := &export{req: req, out: out, program: req.program}
	if e.program == "" {
		if e.program, err = dataplane.Program(); err != nil {
			return err
		}
	}
	if e.pin, err = scrub.Pin(ctx, req.Store, req.Domain, req.State, "export at "+req.where()); err != nil {
		return err
	}
	defer e.pin.Release()
	if err := e.plan(); err != nil {
		return err
	}
	dir, err := workdir.Make("vmsync-export")
	if err != nil {
		return e.fail(replicator.KindOther, "", "", err)
	}
	defer func() { err = errors.Join(err, dir.Remove()) }()
	e.dir = dir.Path
	shown, err := e.show(ctx)
	if !shown || e.copies == nil {
		return err
	}
	return errors.Join(err, e.keep())
}

// where is the address that was asked for.
func (r *Request) where() string {
	if r.Unix != "" {
		return r.Unix
	}
	return r.TCP
}

// plan decides what is served, and refuses what cannot be.
func (e *export) plan() error {
	disks, err := pinned.Disks(e.pin, "export", e.req.Disks)
	if err != nil {
		return err
	}
	for _, d := range disks {
		e.disks = append(e.disks, served{Disk: d})
	}
	if e.req.Keep == "" {
		return nil
	}
	if !e.req.Writable {
		return e.usage(errors.New("there is nothing to keep of an export that is not writable"))
	}
	if err := pinned.OutsideReplica(e.pin, e.req.Keep); err != nil {
		return e.usage(err)
	}
	if e.copies, err = layout(e.req.Keep, disks); err != nil {
		return e.usage(err)
	}
	return nil
}

// show serves until ctx or a program ends, and then ends all programs. It tells whether
// there was a time when clients could write.
func (e *export) show(ctx context.Context) (shown bool, err error) {
	defer func() { err = errors.Join(err, e.stop()) }()
	for i := range e.disks {
		if err := e.start(ctx, i); err != nil {
			if ctx.Err() != nil {
				return false, context.Cause(ctx)
			}
			return false, e.startError(e.disks[i].Name, err)
		}
	}
	if err := e.open(ctx); err != nil {
		return false, err
	}
	x := event.Exported{Domain: e.req.Domain, State: e.pin.State.ID, Writable: e.req.Writable, Kept: e.req.Keep}
	for _, d := range e.disks {
		x.Disks = append(x.Disks, event.ExportedDisk{Disk: d.Name, URI: e.uri(d.Name), Size: d.Size})
	}
	e.out.Emit(x)
	return true, e.watch(ctx)
}

// start starts the qemu-nbd of a disk. Its socket and its overlay have numbers, for names of
// disks are anybody's.
func (e *export) start(ctx context.Context, i int) error {
	d := &e.disks[i]
	image := e.pin.Path(d.Image)
	x := qemu.Export{Image: image, Socket: filepath.Join(e.dir, fmt.Sprintf("%d.sock", i)), Name: d.Name, Clients: 8, ReadOnly: !e.req.Writable}
	if e.req.Writable {
		x.Image = filepath.Join(e.dir, fmt.Sprintf("%d.qcow2", i))
	}
	return pinned.Steady(ctx, e.pin, d.Image, func() (err error) {
		if e.req.Writable {
			if err := qemu.CreateOverlay(ctx, x.Image, image, d.Size); err != nil {
				return err
			}
			d.overlay = x.Image
		}
		// It lives until it is stopped, not until ctx ends: it has to close its image.
		d.server, err = qemu.Serve(ctx, context.WithoutCancel(ctx), x)
		return err
	})
}

// startError tells why a disk is not served.
func (e *export) startError(disk string, err error) error {
	if _, ok := errors.AsType[*proc.NotFoundError](err); ok {
		return e.fail(replicator.KindProgramMissing, disk, "install it", err)
	}
	if noSpace(err) {
		return e.fail(replicator.KindNoSpace, disk, "free space on the file system of "+filepath.Dir(e.dir), err)
	}
	return e.fail(replicator.KindTarget, disk, "`vmsync verify "+e.req.Domain+"@"+e.pin.State.ID+"` tells whether the state is all right", err)
}

// stop ends all programs, first the one that has clients.
func (e *export) stop() error {
	var errs []error
	if e.front != nil {
		e.front.stop()
	}
	for _, d := range e.disks {
		if d.server == nil {
			continue
		}
		select {
		case <-d.server.Done():
			_ = d.server.Stop() // how it ended has been told
			continue
		default:
		}
		if err := d.server.Stop(); err != nil {
			errs = append(errs, e.fail(replicator.KindTarget, d.Name, "", err))
		}
	}
	return errors.Join(errs...)
}

func (e *export) fail(kind, disk, hint string, err error) error {
	return &replicator.Error{Kind: kind, Domain: e.req.Domain, Disk: disk, Op: "export", Hint: hint, Err: err}
}

func (e *export) usage(err error) error {
	return &replicator.Error{Kind: replicator.KindUsage, Domain: e.req.Domain, Op: "export", Hint: "see vmsync export --help", Err: err}
}
