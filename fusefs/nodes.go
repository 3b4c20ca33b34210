package fusefs

import (
	"sync"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"vmsync/fusefs/filesystem"
)

// A node is a file, folder or symbolic link of the store's part of the tree. It keeps
// nothing that changes: two nodes of one key are the same.
type node interface {
	// key names the node in the whole tree. What is never the same file again has
	// another key.
	key() string
	// attr describes it, without its owner and permissions.
	attr() (filesystem.Attr, error)
	// valid is how long the kernel may go by that, and by a lookup that found it.
	valid() time.Duration
}

// A folder is a node with others in it.
type folder interface {
	node
	// lookup returns a [node], or a *guestRoot, or [filesystem.ErrNotExist].
	lookup(name string) (any, error)
	list() ([]filesystem.Entry, error) // the ID of an entry means nothing
}

// A file is a node with content.
type file interface {
	node
	open() (content, error)
	secret() bool // the store itself shows it to nobody else
}

// A link is a symbolic link.
type link interface {
	node
	target() string
}

// nodes are the nodes of the store's part that the kernel knows.
type nodes struct {
	mu    sync.Mutex
	known map[uint64]*knownNode
}

type knownNode struct {
	node    node
	lookups uint64 // that the kernel has not forgotten
}

func newNodes(root node) *nodes {
	return &nodes{known: map[uint64]*knownNode{fuse.FUSE_ROOT_ID: {node: root, lookups: 1}}}
}

// get returns a node that the kernel knows, nil for any other number.
func (n *nodes) get(id uint64) node {
	n.mu.Lock()
	defer n.mu.Unlock()
	if k := n.known[id]; k != nil {
		return k.node
	}
	return nil
}

// add counts a lookup that found a node, and returns the node's number.
func (n *nodes) add(found node) (uint64, bool) {
	id := storeIno(found.key())
	n.mu.Lock()
	defer n.mu.Unlock()
	k := n.known[id]
	if k == nil {
		n.known[id] = &knownNode{node: found, lookups: 1}
		return id, true
	}
	if k.node.key() != found.key() {
		return 0, false // two keys with one hash
	}
	k.node = found
	k.lookups++
	return id, true
}

// knows says whether the kernel knows the node of a key.
func (n *nodes) knows(key string) (id uint64, known bool) {
	id = storeIno(key)
	n.mu.Lock()
	defer n.mu.Unlock()
	_, known = n.known[id]
	return id, known
}

func (n *nodes) forget(id, lookups uint64) {
	if id == fuse.FUSE_ROOT_ID {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	k := n.known[id]
	if k == nil {
		return
	}
	if k.lookups <= lookups {
		delete(n.known, id)
		return
	}
	k.lookups -= lookups
}

func (n *nodes) count() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.known)
}
