package ext

import (
	"errors"
	"fmt"
	"sort"

	"vmsync/fusefs/filesystem"
)

const (
	indexEntry = 8    // hash, block
	indexInfo  = 0x18 // where the root says how names are hashed, behind "." and ".."

	// collisions is how many blocks of names of one hash are looked through.
	collisions = 1024
)

// indexStart returns where the entries of a block of the index begin: in the root behind
// what it says of the index, in the others behind an entry that hides them.
func indexStart(block uint64) int {
	if block == 0 {
		return 0x20
	}
	return 8
}

// errNoIndex says that a directory has no index that this package can use; its
// blocks hold the names all the same.
var errNoIndex = errors.New("no usable index")

// indexNode is a block of the index, and a place in it.
type indexNode struct {
	entries []byte // from the first one on, whose hash is the least there is
	at      int
}

func (n indexNode) count() int        { return len(n.entries) / indexEntry }
func (n indexNode) hash(k int) uint32 { return le.Uint32(n.entries[indexEntry*k:]) }
func (n indexNode) block() uint64 {
	return uint64(le.Uint32(n.entries[indexEntry*n.at+4:]) & 0x0FFFFFFF)
}

// lookupIndexed finds a name by the directory's index.
func (r *reader) lookupIndexed(i *inode, name string) (filesystem.ID, error) {
	root, err := r.dirBlock(i, 0)
	if err != nil {
		return 0, err
	}
	if root == nil || root[indexInfo+5] != 8 {
		return 0, errNoIndex
	}
	version, levels := root[indexInfo+4], int(root[indexInfo+6])
	if levels > 2 || (levels == 2 && !r.sb.has(incompatLargeDir)) {
		return 0, errNoIndex
	}
	hash, ok := r.sb.hashName(version, name)
	if !ok {
		return 0, errNoIndex
	}
	path, err := r.descend(i, nil, 0, levels, func(n indexNode) int {
		// The last entry that does not begin behind the hash; the first has no hash.
		return sort.Search(n.count()-1, func(k int) bool { return n.hash(k+1) > hash })
	})
	for range collisions {
		if err != nil {
			return 0, err
		}
		if id, err := r.findInBlock(i, path[len(path)-1].block(), name); id != 0 || err != nil {
			return id, err
		}
		path, err = r.continued(i, path, hash)
		if path == nil && err == nil {
			return 0, filesystem.ErrNotExist
		}
	}
	return 0, corrupt("directory %d has too many names of hash %#x", i.number, hash)
}

// descend appends the nodes from block down to level 0 to a path, choosing the place in each.
func (r *reader) descend(i *inode, path []indexNode, block uint64, levels int, choose func(indexNode) int) ([]indexNode, error) {
	for level := levels; level >= 0; level-- {
		b, err := r.dirBlock(i, block)
		if err != nil {
			return nil, err
		}
		start := indexStart(block)
		if b == nil || (block == 0) != (len(path) == 0) {
			return nil, errNoIndex
		}
		limit, count := int(le.Uint16(b[start:])), int(le.Uint16(b[start+2:]))
		if count == 0 || count > limit || start+indexEntry*limit > len(b) {
			return nil, errNoIndex
		}
		node := indexNode{entries: b[start:][:indexEntry*count]}
		node.at = choose(node)
		path = append(path, node)
		block = node.block()
	}
	return path, nil
}

// continued moves a path to the next block of names, if it may hold some of the same
// hash: its entry in the index says so. Otherwise the path is nil.
func (r *reader) continued(i *inode, path []indexNode, hash uint32) ([]indexNode, error) {
	depth := len(path)
	for k := depth - 1; k >= 0; k-- {
		path[k].at++
		if path[k].at == path[k].count() {
			continue
		}
		if path[k].hash(path[k].at)&^1 != hash {
			return nil, nil
		}
		return r.descend(i, path[:k+1], path[k].block(), depth-k-2, func(indexNode) int { return 0 })
	}
	return nil, nil
}

// findInBlock looks a name up in one block; 0 means that it is not there.
func (r *reader) findInBlock(i *inode, block uint64, name string) (filesystem.ID, error) {
	b, err := r.dirBlock(i, block)
	if err != nil {
		return 0, err
	}
	if b == nil {
		return 0, errNoIndex
	}
	var id filesystem.ID
	_, err = r.entries(i, b, func(e entry) bool {
		if string(e.name) == name {
			id = filesystem.ID(e.inode)
		}
		return id == 0
	})
	return id, err
}

// lookup finds a name by the index if there is one that can be used, and by reading the
// directory otherwise.
func (r *reader) lookup(i *inode, name string) (filesystem.ID, error) {
	err := errNoIndex
	var id filesystem.ID
	// Where case does not matter, other names than those looked for are hashed.
	if r.indexed(i) && !i.has(flagInlineData) && !i.has(flagCasefold) {
		id, err = r.lookupIndexed(i, name)
	}
	if errors.Is(err, errNoIndex) {
		id, err = r.find(i, name)
	}
	if errors.Is(err, filesystem.ErrNotExist) {
		return 0, fmt.Errorf("%q in directory %d: %w", name, i.number, err)
	}
	return id, err
}
