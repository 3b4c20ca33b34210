package btrfs

import "bytes"

// extent puts an extent of the log in the place of whatever the file had there.
func (p *replay) extent(k key, item []byte) error {
	e, err := parseExtent(k, item)
	if err != nil {
		return err
	}
	sector := uint64(p.r.super.sectorSize)
	end, added := e.end, e.end-e.start
	switch {
	case e.kind == extentInline:
		end = (e.end + sector - 1) / sector * sector
	case e.disk == 0:
		added = 0
	}
	if err := p.dropExtents(k.object, e.start, end); err != nil {
		return err
	}
	if e.kind != extentInline && e.disk == 0 && p.r.super.incompat&featureNoHoles != 0 {
		return nil
	}
	if err := p.put(k, bytes.Clone(item)); err != nil {
		return err
	}
	return p.updateInode(k.object, inodeBytes, int64(added))
}

// dropExtents makes a hole from start to end, and takes what it frees off the inode's
// bytes.
func (p *replay) dropExtents(inode, start, end uint64) error {
	var doomed []extent
	x, err := p.sub.extentsFrom(inode, start)
	for err == nil && len(doomed) <= maxChanges {
		var e extent
		var ok bool
		if e, ok, err = x.next(); !ok || e.start >= end {
			break
		}
		if e.end > start {
			doomed = append(doomed, e)
		}
	}
	if err != nil {
		return err
	}
	dropped := uint64(0)
	for _, e := range doomed {
		if e.kind == extentInline || e.disk != 0 {
			dropped += min(e.end, end) - max(e.start, start)
		}
		if err := p.dropExtent(inode, &e, start, end); err != nil {
			return err
		}
	}
	return p.updateInode(inode, inodeBytes, -int64(dropped))
}

// dropExtent leaves of an extent what lies before start and behind end.
func (p *replay) dropExtent(inode uint64, e *extent, start, end uint64) error {
	k := key{inode, kindExtentData, e.start}
	item, _, err := p.sub.get(k)
	if err != nil {
		return err
	}
	if e.kind == extentInline && (e.start < start || e.end > end) {
		return corrupt("inode %d: a part of an inline extent is to be replaced", inode)
	}
	if e.end > end {
		right := bytes.Clone(item)
		le.PutUint64(right[extentLength:], e.end-end)
		if e.disk != 0 {
			le.PutUint64(right[extentOffset:], e.offset+end-e.start)
		}
		if err := p.put(key{inode, kindExtentData, end}, right); err != nil {
			return err
		}
	}
	if e.start >= start {
		return p.put(k, nil)
	}
	left := bytes.Clone(item)
	le.PutUint64(left[extentLength:], start-e.start)
	return p.put(k, left)
}
