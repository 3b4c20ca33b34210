package btrfs

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/klauspost/compress/zstd"

	"vmsync/fusefs/device"
	"vmsync/fusefs/filesystem"
)

// Identity says which filesystem a device is a member of.
type Identity struct {
	UUID       string // of the filesystem; all its members have it
	Label      string
	DeviceID   uint64 // of this member
	Devices    uint64 // how many members there are
	Generation uint64 // of the last transaction that this member saw
}

// Identify returns which filesystem a device is a member of, so that its other members
// can be gathered for Open. It reads the superblock alone, and returns ErrUnknown where
// there is none.
func Identify(d device.Device) (Identity, error) {
	s, _, err := readSuper(d, checked)
	if err != nil {
		return Identity{}, fmt.Errorf("btrfs: %w", err)
	}
	return Identity{s.uuid(), s.label, s.devID, s.devices, s.generation}, nil
}

func checked(c checksum) checksum { return c }

// Open opens the filesystem of a device, the first one, with those of its other
// members that there are. Members of other filesystems, and a second device with the number
// of the first one (a clone), are an error of the caller, ErrInvalid.
//
// A missing member is an error, ErrUnsupported, of those reads alone that need it;
// where that is the filesystem's own metadata, Open returns it.
func Open(devices ...device.Device) (filesystem.FS, error) {
	r, err := open(devices, checked)
	if err != nil {
		return nil, fmt.Errorf("btrfs: %w", err)
	}
	return r, nil
}

func open(devices []device.Device, sums func(checksum) checksum) (*reader, error) {
	v, super, notes, err := gather(devices, sums)
	if err != nil {
		return nil, err
	}
	decoder, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(maxExtent), zstd.WithDecoderMaxWindow(maxExtent))
	if err != nil {
		return nil, err
	}
	r := &reader{
		super: super, volume: v, notes: notes, label: super.label, zstd: decoder,
		nodes:   newCache[*node](nodeCacheBytes / int(super.nodeSize)),
		trees:   newCache[*tree](subvolumeCache),
		extents: newCache[*plainExtent](extentCacheSize),
		scratch: sync.Pool{New: func() any { return new([scratchBytes]byte) }},
		packed:  sync.Pool{New: func() any { return new([maxExtent]byte) }},
	}
	r.diskUsed = sync.OnceValues(r.countDiskUsed)
	if err := r.mount(); err != nil {
		return nil, err
	}
	return r, nil
}

// gather identifies the members. The newest superblock among them describes the filesystem.
func gather(devices []device.Device, sums func(checksum) checksum) (*volume, *superblock, []string, error) {
	v := &volume{members: map[uint64]*member{}}
	var newest *superblock
	var notes []string
	for i, d := range devices {
		s, copied, err := readSuper(d, sums)
		if err != nil {
			return nil, nil, nil, fmt.Errorf("device %d: %w", i+1, err)
		}
		if newest != nil && s.fsid != newest.fsid {
			return nil, nil, nil, fmt.Errorf("device %d belongs to filesystem %s, the first one to %s: %w",
				i+1, s.uuid(), newest.uuid(), filesystem.ErrInvalid)
		}
		if v.members[s.devID] != nil {
			return nil, nil, nil, fmt.Errorf("two devices are number %d of filesystem %s: %w",
				s.devID, s.uuid(), filesystem.ErrInvalid)
		}
		if copied {
			notes = append(notes, fmt.Sprintf("The first superblock of device %d is damaged; a copy of it was read.", s.devID))
		}
		v.members[s.devID] = &member{dev: d, super: s}
		if newest == nil || s.generation > newest.generation {
			newest = s
		}
	}
	if newest == nil {
		return nil, nil, nil, fmt.Errorf("no device: %w", filesystem.ErrUnknown)
	}
	v.devices = newest.devices
	for _, id := range slices.Sorted(maps.Keys(v.members)) {
		m := v.members[id]
		if m.behind = m.super.generation < newest.generation; m.behind {
			notes = append(notes, fmt.Sprintf("Device %d missed the last transactions.", m.super.devID))
		}
	}
	if given := uint64(len(v.members)); given < v.devices {
		notes = append(notes, fmt.Sprintf("%d of %d devices are missing; only files with a copy on the others can be read.",
			v.devices-given, v.devices))
	}
	return v, newest, notes, nil
}

// mount finds the trees that every read goes through.
func (r *reader) mount() error {
	if err := r.readChunks(); err != nil {
		return err
	}
	r.roots = &tree{r: r, id: 1, root: r.super.root}
	csums, err := r.systemTree(treeCsum)
	if err != nil {
		return err
	}
	r.csums = &sums{tree: csums}
	if r.super.logRoot.at != 0 {
		if err := r.replayLog(); err != nil {
			return fmt.Errorf("replaying the log: %w", err)
		}
	}
	top, err := r.defaultSubvolume()
	if err != nil {
		return err
	}
	if r.root, err = r.subvolumeRoot(top); err != nil {
		return err
	}
	if _, err := r.Stat(r.root); err != nil {
		return fmt.Errorf("the root directory: %w", err)
	}
	if top != treeTop {
		r.notes = append(r.notes, fmt.Sprintf("This is subvolume %d, the default one; subvolumes outside of it are not shown.", top))
	}
	return nil
}

// readChunks reads the chunk tree, whose own chunks the superblock has.
func (r *reader) readChunks() error {
	if err := r.volume.addSystem(r.super.chunks); err != nil {
		return err
	}
	chunks := &tree{r: r, id: 3, root: r.super.chunkRoot}
	c, err := chunks.seek(key{objectFirstChunk, kindChunk, 0})
	for ; err == nil && c.in(objectFirstChunk, kindChunk); err = c.next() {
		chunk, _, err := parseChunk(c.at.offset, c.item)
		if err != nil {
			return err
		}
		if err := r.volume.add(chunk); err != nil {
			return err
		}
	}
	if err != nil {
		return fmt.Errorf("the chunk tree: %w", err)
	}
	return nil
}

// systemTree returns one of the trees that belong to no subvolume.
func (r *reader) systemTree(id uint64) (*tree, error) {
	item, err := r.findRoot(id)
	if errors.Is(err, filesystem.ErrNotExist) {
		return nil, corrupt("tree %d is missing", id)
	}
	if err != nil {
		return nil, err
	}
	return &tree{r: r, id: id, root: item.ref}, nil
}
