package fusefs

import (
	"errors"
	"sync"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"vmsync/fusefs/filesystem"
)

// tree answers the kernel. What it is asked about a guest's file goes to the file's
// filesystem, everything else to a [node].
type tree struct {
	readOnly
	options  Options
	opener   opener
	nodes    *nodes
	sessions *sessions
	handles  handles
	failures *failures
	paths    paths
	server   *fuse.Server // after Init

	background sync.WaitGroup // what goes on beside the kernel's requests, until the mount's end

	mu       sync.Mutex
	replicas map[string]*replica
}

// maxOpen bounds how many states are open that nobody has a file of open.
const maxOpen = 16

func newTree(o Options, reads opener) *tree {
	t := &tree{readOnly: newReadOnly(), options: o, opener: reads, sessions: newSessions(maxOpen), failures: newFailures(o.Log), replicas: map[string]*replica{}}
	t.nodes = newNodes(&rootDir{tree: t})
	return t
}

func (t *tree) String() string           { return typeName }
func (t *tree) Init(server *fuse.Server) { t.server = server }
func (t *tree) OnUnmount()               { t.sessions.closeAll() }

// replica returns the replica of a name, the same one each time.
func (t *tree) replica(domain string) *replica {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.replicas[domain] == nil {
		t.replicas[domain] = &replica{tree: t, domain: domain}
	}
	return t.replicas[domain]
}

// status turns an error into the kernel's answer, and tells of it unless it is one.
func (t *tree) status(err error, at func() failure) fuse.Status {
	number, expected := errno(err)
	if !expected {
		t.failures.report(at(), err)
	}
	return fuse.Status(number)
}

// atNode is where a node of the store's part is, for the log.
func atNode(n node) func() failure { return func() failure { return failure{path: n.key()} } }

// at is where a guest's file is, for the log.
func (t *tree) at(v *guestFS, node uint64) func() failure {
	return func() failure {
		return failure{v.session.replica.domain, v.session.state, v.name, t.paths.of(node)}
	}
}

func (t *tree) Lookup(_ <-chan struct{}, header *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	if isGuest(header.NodeId) {
		return t.lookupGuest(header.NodeId, name, out)
	}
	n := t.nodes.get(header.NodeId)
	if n == nil {
		return fuse.Status(unix.ESTALE)
	}
	dir, ok := n.(folder)
	if !ok {
		return fuse.ENOTDIR
	}
	found, err := dir.lookup(name)
	if errors.Is(err, filesystem.ErrNotExist) {
		out.SetEntryTimeout(briefly)
		return fuse.OK // a name that is not there, which the kernel may remember
	}
	if err != nil {
		return t.status(err, atNode(n))
	}
	if root, ok := found.(*guestRoot); ok {
		return t.enter(root, out)
	}
	return t.answer(found.(node), out)
}

// answer answers a lookup with a node.
func (t *tree) answer(n node, out *fuse.EntryOut) fuse.Status {
	a, err := t.attributes(n)
	if err != nil {
		return t.status(err, atNode(n))
	}
	id, ok := t.nodes.add(n)
	if !ok {
		return fuse.EIO
	}
	fillEntry(out, id, &a, n.valid())
	return fuse.OK
}

func (t *tree) attributes(n node) (filesystem.Attr, error) {
	a, err := n.attr()
	if err != nil {
		return a, err
	}
	f, ok := n.(file)
	t.options.Owners.store(&a, ok && f.secret())
	return a, nil
}

func (t *tree) Forget(node, lookups uint64) {
	if !isGuest(node) {
		t.nodes.forget(node, lookups)
	} else if v, _ := t.sessions.byNode(node); v != nil {
		v.lookups.Add(-int64(lookups))
	}
}

func (t *tree) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	a, valid, status := t.stat(in.NodeId)
	if status == fuse.OK {
		fill(&out.Attr, in.NodeId, &a)
		out.SetTimeout(valid)
	}
	return status
}

func (t *tree) Statx(_ <-chan struct{}, in *fuse.StatxIn, out *fuse.StatxOut) fuse.Status {
	a, valid, status := t.stat(in.NodeId)
	if status == fuse.OK {
		fillStatx(&out.Statx, in.NodeId, &a)
		out.SetTimeout(valid)
	}
	return status
}

func (t *tree) stat(id uint64) (a filesystem.Attr, valid time.Duration, status fuse.Status) {
	if isGuest(id) {
		a, status = t.statGuest(id)
		return a, forever, status
	}
	n := t.nodes.get(id)
	if n == nil {
		return a, 0, fuse.Status(unix.ESTALE)
	}
	a, err := t.attributes(n)
	return a, n.valid(), t.status(err, atNode(n))
}

func (t *tree) Readlink(_ <-chan struct{}, header *fuse.InHeader) ([]byte, fuse.Status) {
	if isGuest(header.NodeId) {
		return t.readlinkGuest(header.NodeId)
	}
	if l, ok := t.nodes.get(header.NodeId).(link); ok {
		return []byte(l.target()), fuse.OK
	}
	return nil, fuse.EINVAL
}

// Access leaves permissions to the kernel, which then asks no more.
func (t *tree) Access(<-chan struct{}, *fuse.AccessIn) fuse.Status { return fuse.ENOSYS }

// Flush has nothing to do, as the kernel learns the first time.
func (t *tree) Flush(<-chan struct{}, *fuse.FlushIn) fuse.Status { return fuse.ENOSYS }

// Fsync succeeds: there is nothing that is not written.
func (t *tree) Fsync(<-chan struct{}, *fuse.FsyncIn) fuse.Status    { return fuse.OK }
func (t *tree) FsyncDir(<-chan struct{}, *fuse.FsyncIn) fuse.Status { return fuse.OK }

func (t *tree) StatFs(_ <-chan struct{}, header *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	if isGuest(header.NodeId) {
		return t.statfsGuest(header.NodeId, out)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(t.options.Store, &st); err != nil {
		return fuse.OK // all zeros: a store that is not there yet
	}
	*out = fuse.StatfsOut{Blocks: st.Blocks, Bfree: st.Bfree, Bavail: st.Bavail, Files: st.Files, Ffree: st.Ffree,
		Bsize: uint32(st.Bsize), NameLen: 255, Frsize: uint32(st.Frsize)}
	return fuse.OK
}
