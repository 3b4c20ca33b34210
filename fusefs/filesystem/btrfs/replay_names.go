package btrfs

import (
	"bytes"
	"cmp"
	"errors"
	"slices"

	"vmsync/fusefs/filesystem"
)

// deleteNames unlinks the names of a directory that lie in a range which the log has
// completely, but are not in the log; or all.
func (p *replay) deleteNames(dir uint64, all bool) error {
	if _, ok, err := p.sub.get(key{dir, kindInodeItem, 0}); err != nil || !ok {
		return err
	}
	if all {
		return p.deleteRange(dir, 0, ^uint64(0), true)
	}
	c, err := p.log.seek(key{dir, kindDirLogIndex, 0})
	for ; err == nil && c.in(dir, kindDirLogIndex); err = c.next() {
		if len(c.item) < 8 {
			return corrupt("a range of directory %d: %d bytes", dir, len(c.item))
		}
		if err := p.deleteRange(dir, c.at.offset, le.Uint64(c.item), false); err != nil {
			return err
		}
	}
	return err
}

func (p *replay) deleteRange(dir, first, last uint64, all bool) error {
	var doomed []dirEntry
	c, err := p.sub.seek(key{dir, kindDirIndex, first})
	for ; err == nil && c.in(dir, kindDirIndex) && c.at.offset <= last && len(doomed) <= maxChanges; err = c.next() {
		e, err := parseDirEntry(c.item)
		if err != nil {
			return err
		}
		if err := p.sub.changes.budget.step(1); err != nil {
			return err
		}
		if !all {
			item, ok, err := p.log.get(c.at)
			if err != nil {
				return err
			}
			if ok {
				if _, ok, err = findEntry(item, string(e.name)); err != nil {
					return err
				}
			}
			if ok {
				continue
			}
		}
		// Deleting a subvolume commits: it is never in a log.
		if e.location.kind == kindInodeItem {
			doomed = append(doomed, e)
		}
	}
	if err != nil {
		return err
	}
	for _, e := range doomed {
		if err := p.unlink(dir, e.location.object, string(e.name)); err != nil {
			return err
		}
	}
	return nil
}

// unlink takes a name of a file out of a directory.
func (p *replay) unlink(dir, inode uint64, name string) error {
	k, refs, i, err := p.sub.findRef(inode, dir, name)
	if err != nil {
		return err
	}
	if i < 0 {
		return corrupt("inode %d does not know its name %q in directory %d", inode, name, dir)
	}
	index := refs[i].index
	if err := p.put(k, encodeRefs(k, slices.Delete(refs, i, i+1))); err != nil {
		return err
	}
	if err := p.put(key{dir, kindDirIndex, index}, nil); err != nil {
		return err
	}
	hashed := key{dir, kindDirItem, nameHash(name)}
	item, _, err := p.sub.get(hashed)
	if err != nil {
		return err
	}
	var left []byte
	for len(item) > 0 {
		e, err := parseDirEntry(item)
		if err != nil {
			return err
		}
		if string(e.name) != name {
			left = append(left, item[:e.size]...)
		}
		item = item[e.size:]
	}
	if err := p.put(hashed, left); err != nil {
		return err
	}
	p.relink[inode] = true
	return p.updateInode(dir, inodeSize, -2*int64(len(name)))
}

// errNameTaken is returned by link where the directory has the name or the index already.
var errNameTaken = errors.New("the name is taken")

// link puts a name of a file into a directory.
func (p *replay) link(dir, inode uint64, name string, index uint64) error {
	item, err := p.sub.inode(inode)
	if err != nil {
		return err
	}
	if _, err := p.sub.findName(dir, kindDirItem, name); !errors.Is(err, filesystem.ErrNotExist) {
		return cmp.Or(err, errNameTaken)
	}
	indexed := key{dir, kindDirIndex, index}
	if _, ok, err := p.sub.get(indexed); err != nil || ok {
		return cmp.Or(err, errNameTaken)
	}
	kind := slices.Index(dirEntryModes[:], item.kind())
	if kind <= 0 {
		return corrupt("inode %d: mode %o", inode, item.mode())
	}
	entry := encodeDirEntry(key{inode, kindInodeItem, 0}, uint8(kind), name)
	if err := p.put(indexed, entry); err != nil {
		return err
	}
	hashed := key{dir, kindDirItem, nameHash(name)}
	others, _, err := p.sub.get(hashed)
	if err != nil {
		return err
	}
	entries := append(bytes.Clone(others), entry...)
	if !p.fits(entries) {
		return corrupt("directory %d has too many names with the hash of %q", dir, name)
	}
	if err := p.put(hashed, entries); err != nil {
		return err
	}
	p.relink[inode] = true
	return p.updateInode(dir, inodeSize, 2*int64(len(name)))
}

// names is the second stage: the entries of directories.
func (p *replay) names(k key, item []byte) error {
	if k.kind != kindDirIndex {
		return nil
	}
	dir := k.object
	if _, err := p.sub.inode(dir); err != nil {
		return err
	}
	e, err := parseDirEntry(item)
	if err != nil {
		return err
	}
	name, inode := string(e.name), e.location.object
	_, exists, err := p.sub.get(e.location)
	if err != nil {
		return err
	}
	there := 0
	for _, at := range []key{{dir, kindDirItem, nameHash(name)}, {dir, kindDirIndex, k.offset}} {
		old, ok, err := p.entry(at, name)
		switch {
		case err != nil:
			return err
		case !ok:
		case old.location == e.location && old.kind == e.kind:
			there++
		case exists:
			if err := p.unlink(dir, old.location.object, name); err != nil {
				return err
			}
		}
	}
	if there == 2 || !exists {
		return nil
	}
	// What the log has as a name of the file itself comes with the last stage.
	if _, _, i, err := p.log.findRef(inode, dir, name); err != nil || i >= 0 {
		return err
	}
	if err := p.link(dir, inode, name, k.offset); err != nil {
		if errors.Is(err, errNameTaken) {
			return nil
		}
		return err
	}
	return p.addRef(inode, inodeRef{dir, k.offset, name})
}

// entry returns the entry of a name in an item of the subvolume.
func (p *replay) entry(k key, name string) (dirEntry, bool, error) {
	item, ok, err := p.sub.get(k)
	if err != nil || !ok {
		return dirEntry{}, false, err
	}
	return findEntry(item, name)
}
