package xfs

import (
	"vmsync/fusefs/device"
)

// Kinds of items in the log.
const (
	itemEFI, itemEFD     = 0x1236, 0x1237 // extents to free
	itemInode            = 0x123b
	itemBuffer           = 0x123c
	itemDquot            = 0x123d
	itemQuotaOff         = 0x123e
	itemInodeCreate      = 0x123f
	itemRUI, itemRUD     = 0x1240, 0x1241 // owners of blocks
	itemCUI, itemCUD     = 0x1242, 0x1243 // counts of shared blocks
	itemBUI, itemBUD     = 0x1244, 0x1245 // extents of a file
	itemATTRI, itemATTRD = 0x1246, 0x1247 // attributes of a file
	itemXMI, itemXMD     = 0x1248, 0x1249 // extents of two files
	itemLastRealtime     = 0x124f         // from here back to itemXMD: as above, for the realtime device
)

// What a kernel must know to replay a log, of sb_features_ro_compat (finobt, rmapbt,
// reflink, inobtcount) and sb_features_log_incompat (attributes as intents).
const (
	roCompatKnown    = 0b1111
	logIncompatKnown = 0b1
)

// replayer replays a log.
type replayer struct {
	sb   *superblock
	over *overlay
	// cancelled counts how often a buffer is yet to be given up. Until the last time,
	// what was written to it must not be replayed: its blocks may be a file's since.
	cancelled map[buffer]int
	// intents are the changes that were announced and not reported as done.
	intents map[intent]bool
}

// buffer is a range of basic blocks.
type buffer struct {
	block  int64
	length int
}

type intent struct {
	kind uint16
	id   uint64
}

// replay returns d with what its log holds, nil where that is nothing.
func replay(d device.Device, sb *superblock) (device.Device, error) {
	j, err := openJournal(d, sb)
	if err != nil {
		return nil, err
	}
	records, err := j.dirty()
	if err != nil || len(records) == 0 {
		return nil, err
	}
	if unknown := sb.roCompat &^ roCompatKnown; unknown != 0 {
		return nil, needsReplay("the features %#x are unknown", unknown)
	}
	if unknown := sb.logIncompat &^ logIncompatKnown; unknown != 0 {
		return nil, needsReplay("the log's features %#x are unknown", unknown)
	}
	r := &replayer{sb: sb, over: newOverlay(d), cancelled: map[buffer]int{}, intents: map[intent]bool{}}
	if err := j.run(records, r.collectCancelled); err != nil {
		return nil, err
	}
	if err := j.run(records, r.transaction); err != nil {
		return nil, err
	}
	for left := range r.intents {
		return nil, needsReplay("a change of kind %#x was announced and not made", left.kind)
	}
	r.over.freeze()
	return r.over, nil
}

// collectCancelled is the first pass.
func (r *replayer) collectCancelled(t *transaction) error {
	for _, item := range t.items {
		if item.kind() != itemBuffer {
			continue
		}
		b, err := parseBufferItem(item)
		if err != nil {
			return err
		}
		if b.flags&bufferCancel != 0 {
			r.cancelled[b.buffer]++
		}
	}
	return nil
}

// transaction is the second pass. New inodes come before what is written to them, and the
// giving up of buffers comes last.
func (r *replayer) transaction(t *transaction) error {
	const passes = 3
	for pass := range passes {
		for _, item := range t.items {
			when, err := passOf(item)
			if err != nil {
				return err
			}
			if when != pass {
				continue
			}
			if err := r.item(t, item); err != nil {
				return err
			}
		}
	}
	return nil
}

func passOf(item *item) (int, error) {
	switch item.kind() {
	case itemInodeCreate:
		return 0, nil
	case itemBuffer:
		b, err := parseBufferItem(item)
		if err != nil {
			return 0, err
		}
		if b.flags&bufferCancel != 0 {
			return 2, nil
		}
		return 0, nil
	}
	return 1, nil
}

func (r *replayer) item(t *transaction, item *item) error {
	switch kind := item.kind(); kind {
	case itemBuffer:
		return r.bufferItem(t, item)
	case itemInode:
		return r.inodeItem(t, item)
	case itemInodeCreate:
		return r.createItem(item)
	case itemDquot, itemQuotaOff, itemEFI, itemEFD, itemRUI, itemRUD, itemCUI, itemCUD:
		// Quotas, and which blocks are free: nothing that a reader sees.
		return nil
	case itemBUI, itemATTRI, itemXMI:
		return r.intent(item, kind, true)
	case itemBUD, itemATTRD, itemXMD:
		return r.intent(item, kind-1, false)
	default:
		if kind > itemXMD && kind <= itemLastRealtime {
			return nil
		}
		return needsReplay("the log has an item of kind %#x", kind)
	}
}

// intent notes that a change was announced, or made. What was announced alone the kernel
// would do after the replay.
func (r *replayer) intent(item *item, kind uint16, announced bool) error {
	const id, most = 8, 1 << 20
	b := item.regions[0]
	if len(b) < id+8 || len(r.intents) > most {
		return needsReplay("the log has a broken item of kind %#x", item.kind())
	}
	if announced {
		r.intents[intent{kind, le.Uint64(b[id:])}] = true
	} else {
		delete(r.intents, intent{kind, le.Uint64(b[id:])})
	}
	return nil
}

// read returns a range of the device as it is replayed so far.
func (r *replayer) read(of buffer) ([]byte, int64, error) {
	const most = 256 // basic blocks; the largest buffer is a block of 64 KiB
	size := r.over.Size() / basicBlock
	if of.block < 0 || of.length <= 0 || of.length > most || of.block > size-int64(of.length) {
		return nil, 0, needsReplay("the log writes %d blocks at %d", of.length, of.block)
	}
	b := make([]byte, of.length*basicBlock)
	_, err := r.over.ReadAt(b, of.block*basicBlock)
	return b, of.block * basicBlock, err
}
