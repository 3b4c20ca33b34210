package btrfs

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"vmsync/fusefs/filesystem"
)

// replayLog takes in what was fsynced after the last commit. Each subvolume has a log of its
// own: a tree of copies of the items that a file needs, and of the ranges of a directory
// that are complete in it, so that what they do not contain was deleted.
//
// It comes to what the kernel's replay at mount would leave on the disk, as changes in
// memory over the subvolume's tree. The kernel gives some directories and unlinked files the
// time of the replay; here they keep theirs.
func (r *reader) replayLog() error {
	budget := &changeBudget{}
	r.logged = map[uint64]*overlay{}
	logs := &tree{r: r, id: objectTreeLog, root: r.super.logRoot}
	c, err := logs.seek(key{objectTreeLog, kindRootItem, 0})
	for ; err == nil && c.in(objectTreeLog, kindRootItem); err = c.next() {
		item, err := parseRootItem(objectTreeLog, c.item)
		if err != nil {
			return err
		}
		id := c.at.offset
		r.logged[id] = &overlay{budget: budget}
		subvolume, err := r.subvolume(id)
		if errors.Is(err, filesystem.ErrNotExist) {
			continue // it was deleted after the fsync
		}
		if err != nil {
			return err
		}
		p := &replay{r: r, sub: subvolume, log: &tree{r: r, id: objectTreeLog, root: item.ref}, relink: map[uint64]bool{}}
		if err := p.run(); err != nil {
			return fmt.Errorf("subvolume %d: %w", id, err)
		}
		if err := budget.take(1, 0); err != nil {
			return err
		}
	}
	r.csums.settle()
	return err
}

// replay brings one log into its subvolume. It is done by one goroutine, before anything
// else is read.
type replay struct {
	r        *reader
	sub, log *tree
	// relink has the inodes whose names may have changed, so that they have to be
	// counted.
	relink map[uint64]bool
}

// run goes through the log three times, as the kernel does: all inodes have to be there
// before names lead to them, and names that are in directories before those that only the files
// themselves have.
func (p *replay) run() error {
	for _, stage := range []func(key, []byte) error{p.inodes, p.names, p.rest} {
		if err := p.each(stage); err != nil {
			return err
		}
	}
	return p.countLinks()
}

// each calls do for the items of the log, but for those of files without a name, which
// would be deleted again.
func (p *replay) each(do func(key, []byte) error) error {
	unnamed := uint64(0)
	c, err := p.log.seek(key{})
	for ; err == nil && c.valid(); err = c.next() {
		if c.at.kind == kindInodeItem {
			if len(c.item) < inodeItemSize {
				return corrupt("inode %d in the log: %d bytes", c.at.object, len(c.item))
			}
			if inodeItem(c.item).links() == 0 {
				unnamed = c.at.object
			}
		}
		if c.at.object == unnamed {
			continue
		}
		if err := do(c.at, c.item); err != nil {
			return fmt.Errorf("item %v: %w", c.at, err)
		}
	}
	return err
}

// put sets an item of the subvolume; nil deletes it.
func (p *replay) put(k key, item []byte) error { return p.sub.changes.put(k, item) }

// inodes is the first stage: inodes, and what is no longer theirs.
func (p *replay) inodes(k key, item []byte) error {
	if k.kind != kindInodeItem {
		return nil
	}
	inode := inodeItem(item)
	if err := p.deleteAll(k.object, kindXattr); err != nil {
		return err // the log has all that are left
	}
	if inode.kind() == unix.S_IFDIR {
		if err := p.deleteNames(k.object, false); err != nil {
			return err
		}
	}
	if err := p.putInode(k, inode); err != nil {
		return err
	}
	p.relink[k.object] = true
	if inode.kind() != unix.S_IFREG {
		return nil
	}
	now, err := p.sub.inode(k.object)
	if err != nil {
		return err
	}
	// The log has what was allocated behind the end.
	sector := uint64(p.r.super.sectorSize)
	if now.size() > maxFileSize {
		return corrupt("inode %d: size %d", k.object, now.size())
	}
	return p.dropExtents(k.object, (now.size()+sector-1)/sector*sector, maxFileSize)
}

// putInode puts an inode of the log over that of the subvolume. Its bytes and a
// directory's size remain those of the subvolume: they are counted as extents and names
// come and go. Where the log only says that the inode exists (generation 0), nothing
// else changes than the size, and that only where the log knows it.
func (p *replay) putInode(k key, logged inodeItem) error {
	item, ok, err := p.sub.get(k)
	if err != nil {
		return err
	}
	changed := inodeItem(bytes.Clone(logged))
	if !ok {
		le.PutUint64(changed[inodeBytes:], 0)
		if logged.kind() == unix.S_IFDIR {
			le.PutUint64(changed[inodeSize:], 0)
		}
		return p.put(k, changed)
	}
	if len(item) < inodeItemSize {
		return corrupt("inode %d: %d bytes", k.object, len(item))
	}
	old := inodeItem(item)
	if le.Uint64(logged[inodeGeneration:]) == 0 {
		if logged.kind() != unix.S_IFREG || old.kind() != unix.S_IFREG || logged.size() == 0 {
			return nil
		}
		changed = bytes.Clone(old)
		le.PutUint64(changed[inodeSize:], logged.size())
		return p.put(k, changed)
	}
	le.PutUint64(changed[inodeBytes:], old.bytes())
	if logged.kind() == unix.S_IFDIR {
		le.PutUint64(changed[inodeSize:], old.size())
	}
	return p.put(k, changed)
}

// rest is the last stage.
func (p *replay) rest(k key, item []byte) error {
	switch k.kind {
	case kindXattr:
		return p.put(k, bytes.Clone(item))
	case kindInodeRef, kindInodeExtref:
		return p.refs(k, item)
	case kindExtentData:
		return p.extent(k, item)
	case kindExtentCsum:
		if k.offset > maxAddress {
			return corrupt("checksums of address %d", k.offset)
		}
		p.r.csums.logged = append(p.r.csums.logged, loggedSums{k.offset, bytes.Clone(item)})
		return p.sub.changes.budget.take(1, len(item))
	}
	return nil
}

// deleteAll deletes the items of one kind of an object.
func (p *replay) deleteAll(object uint64, kind uint8) error {
	var keys []key
	c, err := p.sub.seek(key{object, kind, 0})
	for ; err == nil && c.in(object, kind) && len(keys) <= maxChanges; err = c.next() {
		keys = append(keys, c.at)
	}
	for _, k := range keys {
		if err := p.put(k, nil); err != nil {
			return err
		}
	}
	return err
}

// updateInode changes one number of an inode by a difference.
func (p *replay) updateInode(number uint64, field int, difference int64) error {
	if difference == 0 {
		return nil
	}
	item, err := p.sub.inode(number)
	if err != nil {
		return err
	}
	changed := bytes.Clone(item)
	le.PutUint64(changed[field:], uint64(max(0, int64(le.Uint64(changed[field:]))+difference)))
	return p.put(key{number, kindInodeItem, 0}, changed)
}

// countLinks sets the link counts to the number of names. A directory that has lost its
// name loses what is in it.
func (p *replay) countLinks() error {
	for len(p.relink) > 0 {
		var numbers []uint64
		for number := range p.relink {
			numbers = append(numbers, number)
		}
		slices.Sort(numbers)
		clear(p.relink)
		for _, number := range numbers {
			if err := p.countLinksOf(number); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *replay) countLinksOf(number uint64) error {
	item, ok, err := p.sub.get(key{number, kindInodeItem, 0})
	if err != nil || !ok {
		return err
	}
	if len(item) < inodeItemSize {
		return corrupt("inode %d: %d bytes", number, len(item))
	}
	links := 0
	c, err := p.sub.seek(key{number, kindInodeRef, 0})
	for ; err == nil && (c.in(number, kindInodeRef) || c.in(number, kindInodeExtref)); err = c.next() {
		refs, err := parseRefs(c.at, c.item)
		if err != nil {
			return err
		}
		links += len(refs)
	}
	if err != nil {
		return err
	}
	if inode := inodeItem(item); inode.links() != uint32(links) {
		changed := bytes.Clone(item)
		le.PutUint32(changed[inodeLinks:], uint32(links))
		if err := p.put(key{number, kindInodeItem, 0}, changed); err != nil {
			return err
		}
	}
	if links == 0 && inodeItem(item).kind() == unix.S_IFDIR {
		return p.deleteNames(number, true)
	}
	return nil
}
