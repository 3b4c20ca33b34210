package btrfs

import (
	"errors"
	"fmt"

	"vmsync/fusefs/filesystem"
)

// rootItem describes a tree, in the root tree.
type rootItem struct {
	ref  nodeRef
	dir  uint64 // the number of its root directory
	refs uint32 // 0 where it is being deleted
	used uint64 // bytes of its nodes
}

// Offsets within a root item ([format], "ROOT_ITEM").
const (
	rootItemGeneration = 160
	rootItemDir        = 168
	rootItemNode       = 176
	rootItemUsed       = 192
	rootItemRefs       = 216
	rootItemLevel      = 238
	rootItemMin        = 239 // without the fields of later versions
)

func parseRootItem(id uint64, b []byte) (rootItem, error) {
	if len(b) < rootItemMin {
		return rootItem{}, corrupt("tree %d: a root item of %d bytes", int64(id), len(b))
	}
	return rootItem{
		ref:  nodeRef{le.Uint64(b[rootItemNode:]), le.Uint64(b[rootItemGeneration:]), b[rootItemLevel]},
		dir:  le.Uint64(b[rootItemDir:]),
		refs: le.Uint32(b[rootItemRefs:]),
		used: le.Uint64(b[rootItemUsed:]),
	}, nil
}

// findRoot returns the description of a tree, ErrNotExist where there is none.
func (r *reader) findRoot(id uint64) (rootItem, error) {
	// The offset of a snapshot's item is the transaction that made it.
	c, err := r.roots.floor(key{id, kindRootItem, ^uint64(0)})
	if err != nil {
		return rootItem{}, err
	}
	if !c.in(id, kindRootItem) {
		return rootItem{}, fmt.Errorf("tree %d: %w", id, filesystem.ErrNotExist)
	}
	return parseRootItem(id, c.item)
}

// isSubvolume says whether a tree's number is that of a subvolume.
func isSubvolume(id uint64) bool {
	return id == treeTop || id >= objectFirstFree && id <= objectLastFree
}

// subvolume returns the tree of a subvolume, with what a log changed in it.
func (r *reader) subvolume(id uint64) (*tree, error) {
	if t, ok := r.trees.get(id); ok {
		return t, nil
	}
	if !isSubvolume(id) {
		return nil, corrupt("tree %d is not a subvolume", int64(id))
	}
	item, err := r.findRoot(id)
	if err != nil {
		return nil, err
	}
	if item.refs == 0 {
		return nil, fmt.Errorf("subvolume %d was deleted: %w", id, filesystem.ErrNotExist)
	}
	t := &tree{r: r, id: id, root: item.ref, changes: r.logged[id]}
	r.trees.put(id, t)
	return t, nil
}

// subvolumeRoot returns the root directory of a subvolume.
func (r *reader) subvolumeRoot(id uint64) (filesystem.ID, error) {
	item, err := r.findRoot(id)
	if err != nil {
		return 0, err
	}
	if !isSubvolume(id) || item.refs == 0 {
		return 0, fmt.Errorf("subvolume %d: %w", int64(id), filesystem.ErrNotExist)
	}
	return r.ids.pack(fileRef{id, item.dir, false})
}

// defaultSubvolume returns the subvolume that a mount without options shows: the one
// that the name "default" in the root tree's directory leads to.
func (r *reader) defaultSubvolume() (uint64, error) {
	entry, err := r.roots.findName(r.super.rootDir, kindDirItem, "default")
	if errors.Is(err, filesystem.ErrNotExist) {
		return treeTop, nil
	}
	if err != nil {
		return 0, fmt.Errorf("the default subvolume: %w", err)
	}
	return entry.location.object, nil
}

// subvolumeAt follows a directory entry that names a subvolume. Where the subvolume does not
// belong to this directory, or is gone, the kernel shows an empty directory: that is how a
// snapshot holds the subvolumes that its original contained.
func (r *reader) subvolumeAt(dir fileRef, name string, id uint64) (filesystem.ID, error) {
	ref, ok, err := r.roots.get(key{dir.tree, kindRootRef, id})
	if err != nil {
		return 0, err
	}
	if !ok {
		return r.ids.pack(fileRef{dir.tree, dir.inode, true})
	}
	if len(ref) < 18 || len(ref) < 18+int(le.Uint16(ref[16:])) {
		return 0, corrupt("subvolume %d: a reference of %d bytes", id, len(ref))
	}
	if le.Uint64(ref) != dir.inode || string(ref[18:18+le.Uint16(ref[16:])]) != name {
		return 0, fmt.Errorf("subvolume %d is not at %q: %w", id, name, filesystem.ErrNotExist)
	}
	root, err := r.subvolumeRoot(id)
	if errors.Is(err, filesystem.ErrNotExist) {
		return r.ids.pack(fileRef{dir.tree, dir.inode, true})
	}
	return root, err
}
