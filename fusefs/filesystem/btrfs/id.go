package btrfs

import (
	"sync"

	"vmsync/fusefs/filesystem"
)

// fileRef names a file: inodes are numbered within each subvolume.
type fileRef struct {
	tree  uint64
	inode uint64
	// stub is the empty directory that stands for a subvolume which is not there; the inode
	// is that of the directory it lies in. All stubs of one directory are alike.
	stub bool
}

// An ID is a fileRef in 64 bits: a flag for stubs, 23 bits of the subvolume's number, 39
// of the inode's. What does not fit is numbered in a table, and its ID has the highest bit.
const (
	idTabled     = 1 << 63
	idStub       = 1 << 62
	idTreeBits   = 23
	idInodeBits  = 39
	maxTabledIDs = 1 << 16
)

// idTable numbers what does not fit into an ID. Both numbers only grow on a btrfs, and
// it takes decades to outgrow the bits: an ordinary filesystem never uses the table.
type idTable struct {
	mu   sync.RWMutex
	refs []fileRef
	ids  map[fileRef]filesystem.ID
}

func (t *idTable) pack(f fileRef) (filesystem.ID, error) {
	if f.tree>>idTreeBits == 0 && f.inode>>idInodeBits == 0 {
		id := filesystem.ID(f.tree<<idInodeBits | f.inode)
		if f.stub {
			id |= idStub
		}
		return id, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if id, ok := t.ids[f]; ok {
		return id, nil
	}
	if len(t.refs) == maxTabledIDs {
		return 0, unsupported("more than %d files with numbers as high as %d in subvolume %d", maxTabledIDs, f.inode, f.tree)
	}
	if t.ids == nil {
		t.ids = map[fileRef]filesystem.ID{}
	}
	id := idTabled | filesystem.ID(len(t.refs))
	t.refs = append(t.refs, f)
	t.ids[f] = id
	return id, nil
}

// unpack returns what an ID stands for. An ID that no pack returned leads to a file
// that does not exist.
func (t *idTable) unpack(id filesystem.ID) fileRef {
	if id&idTabled == 0 {
		return fileRef{uint64(id) >> idInodeBits & (1<<idTreeBits - 1), uint64(id) & (1<<idInodeBits - 1), id&idStub != 0}
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	if i := uint64(id &^ idTabled); i < uint64(len(t.refs)) {
		return t.refs[i]
	}
	return fileRef{}
}
