package btrfs

import (
	"bytes"
	"fmt"
	"slices"

	"vmsync/fusefs/filesystem"
)

// refs makes the names of a file those that an item of the log has.
func (p *replay) refs(k key, item []byte) error {
	if k.kind == kindInodeRef && k.object == k.offset {
		return nil // the name ".." of a subvolume's root, which is in no directory
	}
	refs, err := parseRefs(k, item)
	if err != nil || len(refs) == 0 {
		return err
	}
	for i, ref := range refs {
		_, ok, err := p.sub.get(key{ref.parent, kindInodeItem, 0})
		if err != nil {
			return err
		}
		if !ok && i == 0 {
			return nil // not all directories are logged
		}
		if !ok {
			continue
		}
		if err := p.ref(k.object, ref); err != nil {
			return err
		}
	}
	old, _, err := p.sub.get(k)
	if err != nil {
		return err
	}
	former, err := parseRefs(k, old)
	if err != nil {
		return err
	}
	for _, ref := range former {
		kept := slices.ContainsFunc(refs, func(r inodeRef) bool { return r.parent == ref.parent && r.name == ref.name })
		if kept {
			continue
		}
		if err := p.unlink(ref.parent, k.object, ref.name); err != nil {
			return err
		}
	}
	return p.put(k, bytes.Clone(item))
}

// ref puts one name of a file into its directory, and whatever is in the way out of it.
func (p *replay) ref(inode uint64, ref inodeRef) error {
	want := key{inode, kindInodeItem, 0}
	indexed, inIndex, err := p.entry(key{ref.parent, kindDirIndex, ref.index}, ref.name)
	if err != nil {
		return err
	}
	hashed, inHash, err := p.entry(key{ref.parent, kindDirItem, nameHash(ref.name)}, ref.name)
	if err != nil {
		return err
	}
	if inIndex && inHash && indexed.location == want && hashed.location == want {
		return nil
	}
	for _, k := range refKeys(inode, ref.parent, ref.name) {
		if err := p.dropForeignRefs(k, ref.parent); err != nil {
			return err
		}
	}
	for _, k := range []key{{ref.parent, kindDirIndex, ref.index}, {ref.parent, kindDirItem, nameHash(ref.name)}} {
		e, ok, err := p.entry(k, ref.name)
		if err != nil {
			return err
		}
		if ok {
			if err := p.unlink(ref.parent, e.location.object, ref.name); err != nil {
				return err
			}
		}
	}
	if err := p.link(ref.parent, inode, ref.name, ref.index); err != nil {
		return fmt.Errorf("name %q in directory %d: %w: %w", ref.name, ref.parent, err, filesystem.ErrCorrupt)
	}
	return nil
}

// dropForeignRefs unlinks the names in an item of the subvolume that lie in a directory but
// not in the log.
func (p *replay) dropForeignRefs(k key, parent uint64) error {
	item, _, err := p.sub.get(k)
	if err != nil {
		return err
	}
	refs, err := parseRefs(k, item)
	if err != nil {
		return err
	}
	for _, ref := range refs {
		if ref.parent != parent {
			continue
		}
		if err := p.sub.changes.budget.step(int(p.r.super.nodeSize) / 16); err != nil {
			return err
		}
		_, _, i, err := p.log.findRef(k.object, parent, ref.name)
		if err != nil {
			return err
		}
		if i < 0 {
			if err := p.unlink(parent, k.object, ref.name); err != nil {
				return err
			}
		}
	}
	return nil
}

// addRef gives a file a name, in the first item that has room for it.
func (p *replay) addRef(inode uint64, ref inodeRef) error {
	for _, k := range refKeys(inode, ref.parent, ref.name) {
		old, _, err := p.sub.get(k)
		if err != nil {
			return err
		}
		if b := append(bytes.Clone(old), encodeRefs(k, []inodeRef{ref})...); p.fits(b) {
			return p.put(k, b)
		}
	}
	return corrupt("inode %d has too many names with the hash of %q", inode, ref.name)
}

// fits says whether an item has room in a leaf.
func (p *replay) fits(item []byte) bool {
	return len(item) <= int(p.r.super.nodeSize)-nodeHeader-itemSize
}
