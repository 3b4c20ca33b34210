package fusefs

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// Mount is a mounted tree.
type Mount struct {
	path   string
	tree   *tree
	server *fuse.Server
	served chan struct{}
	end    chan struct{} // closed by finish
	finish func()
}

// maxRead bounds one read request of the kernel, in bytes; the kernel has no larger ones.
const maxRead = 1 << 20

// maxBackground is how many requests the kernel makes ahead, for reading on.
const maxBackground = 64

// New mounts a store. When it returns the tree can be used; [Mount.Wait] ends when it
// is unmounted.
func New(mountpoint string, o Options) (*Mount, error) {
	if err := o.complete(mountpoint); err != nil {
		return nil, err
	}
	reads, err := newReads(&o)
	if err != nil {
		return nil, err
	}
	return mountWith(mountpoint, o, reads)
}

func mountWith(mountpoint string, o Options, reads opener) (*Mount, error) {
	if err := o.complete(mountpoint); err != nil {
		return nil, err
	}
	path, err := prepare(mountpoint, o.Store, func(text string) { o.Log.Warn(text) })
	if err != nil {
		return nil, err
	}
	t := newTree(o, reads)
	server, err := fuse.NewServer(t, path, mountOptions(&o, t.failures.library()))
	if err != nil {
		return nil, fmt.Errorf("mount %s: %s", path, mountError(err))
	}
	m := &Mount{path: path, tree: t, server: server, served: make(chan struct{}), end: make(chan struct{})}
	m.finish = sync.OnceFunc(func() {
		close(m.end)
		t.background.Wait()
		t.sessions.closeIdle(0)
	})
	go func() {
		defer close(m.served)
		server.Serve()
	}()
	if err := server.WaitMount(); err != nil {
		return nil, errors.Join(err, detach(path))
	}
	t.background.Go(func() { t.lookAfter(o.Idle, m.end) })
	return m, nil
}

func mountOptions(o *Options, library *log.Logger) *fuse.MountOptions {
	root := os.Geteuid() == 0
	f := &fuse.MountOptions{
		AllowOther: o.AllowOther,
		FsName:     o.Source,
		Name:       typeName,
		Options:    []string{"default_permissions"},
		MaxWrite:   maxRead, MaxBackground: maxBackground,
		DisableSplice:        true, // there is no file to splice from
		EnableSymlinkCaching: true,
		EnableAcl:            true,
		ExtraCapabilities:    fuse.CAP_READDIRPLUS_AUTO,
		DirectMountStrict:    root,
		DirectMountFlags:     unix.MS_NOSUID | unix.MS_NODEV | unix.MS_RDONLY,
		Logger:               library,
	}
	if !root { // fusermount3 has no flags; nosuid and nodev go without saying
		f.Options = append(f.Options, "ro")
	}
	return f
}

// mountError words what mounting says.
func mountError(err error) string {
	switch {
	case errors.Is(err, unix.ENOENT) && os.Geteuid() == 0:
		return "there is no /dev/fuse: modprobe fuse"
	case errors.Is(err, unix.EPERM):
		return "not permitted"
	}
	return strings.TrimSpace(err.Error())
}

// LogTo has everything logged there from now on.
func (m *Mount) LogTo(log *slog.Logger) { m.tree.failures.log.Store(log) }

// Path is where the tree is mounted.
func (m *Mount) Path() string { return m.path }

// Wait returns when the tree has been unmounted, by whomever, and nobody has a file of it
// open any more.
func (m *Mount) Wait() {
	<-m.served
	m.finish()
}

// Done is closed when Wait would return.
func (m *Mount) Done() <-chan struct{} { return m.served }

// elsewhere is how long Close waits for those who see the tree in a mount namespace of
// their own, which unmounting it here may not reach.
const elsewhere = time.Second

// Close unmounts the tree. Where somebody uses it, it is taken out of the tree of
// files all the same; then Close says so and waits until they are done with what they
// have open, or ctx ends. It is the last use of the tree.
func (m *Mount) Close(ctx context.Context) error {
	err := unmount(m.path)
	busy := errors.Is(err, errBusy)
	if busy {
		m.tree.failures.logger().Warn("still in use: detached, and waiting for those who have files of it open", "mountpoint", m.path)
		err = detach(m.path)
	}
	if at, lookErr := mountedAt(m.path); err != nil && lookErr == nil && !at.ours() {
		err = nil // somebody else was faster
	}
	if err != nil {
		return err
	}
	if !busy {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, elsewhere)
		defer cancel()
	}
	select {
	case <-m.served:
	case <-ctx.Done():
		if busy {
			return fmt.Errorf("files of %s are still open", m.path)
		}
	}
	m.finish()
	return nil
}

// lookEvery is how often manifests are looked at that were read before, for states
// that have gone, and how often unused states are looked for.
const lookEvery = 5 * time.Second

// lookAfter keeps the tree small: it closes what is not used, and forgets what has gone.
func (t *tree) lookAfter(idle time.Duration, end <-chan struct{}) {
	tick := time.NewTicker(min(lookEvery, max(idle/2, 10*time.Millisecond)))
	defer tick.Stop()
	for {
		select {
		case <-end:
			return
		case <-tick.C:
			t.tidy(idle)
		}
	}
}

func (t *tree) tidy(idle time.Duration) {
	t.sessions.closeIdle(idle)
	t.mu.Lock()
	replicas := make([]*replica, 0, len(t.replicas))
	for _, r := range t.replicas {
		replicas = append(replicas, r)
	}
	t.mu.Unlock()
	for _, r := range replicas {
		r.look()
	}
	t.sessions.sweep(func(s *session) bool { return s.replica.lists(s.state, s.generation) })
}

// vanished has the kernel forget states that have gone. It must not be waited for: the kernel
// may be waiting for what is being answered.
func (t *tree) vanished(r *replica, ids []string) {
	parent, known := t.nodes.knows((&statesDir{r}).key())
	if t.server == nil || !known || len(ids) == 0 {
		return
	}
	t.background.Go(func() {
		for _, id := range ids {
			t.server.EntryNotify(parent, id) // what it does not know is none of its entries
		}
	})
}
