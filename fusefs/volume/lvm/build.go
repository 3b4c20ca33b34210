package lvm

import (
	"errors"
	"fmt"
	"strings"

	"vmsync/fusefs/device"
	"vmsync/fusefs/filesystem"
	"vmsync/fusefs/volume/cow"
	"vmsync/fusefs/volume/mapping"
	"vmsync/fusefs/volume/thin"
)

// ErrMissing: a physical volume that is needed is not among the devices.
var ErrMissing = errors.New("not among the disks")

const (
	// maxNesting bounds how many volumes lie in each other. A thin volume over a pool whose
	// data is mirrored is 4 deep.
	maxNesting = 16
	// maxPieces bounds the pieces that a volume comes to when all that it is made of is laid
	// out: volumes that contain each other many times over would take for ever to read.
	maxPieces = 1 << 18
	maxSize   = 1 << 62
)

// builder makes devices of a group's logical volumes, each once.
type builder struct {
	group     *group
	byUUID    map[string][]*physical
	built     map[string]built
	pools     map[string]*thin.Pool
	snapshots map[string]snapshot // by the store, or by the origin that it is merged into
	left      *room
	nesting   int
}

// built is a device and the number of its pieces.
type built struct {
	device device.Device
	pieces int
	err    error
}

type snapshot struct{ origin, store string }

func newBuilder(g *group, byUUID map[string][]*physical, left *room) *builder {
	b := &builder{group: g, byUUID: byUUID, built: map[string]built{}, pools: map[string]*thin.Pool{}, snapshots: map[string]snapshot{}, left: left}
	for _, name := range g.order {
		s := g.logical[name].sections["segment1"]
		if s == nil || s.text("type") != "snapshot" {
			continue
		}
		if store := s.text("cow_store"); store != "" {
			b.snapshots[store] = snapshot{s.text("origin"), store}
		} else {
			b.snapshots[s.text("origin")] = snapshot{s.text("origin"), s.text("merging_store")}
		}
	}
	return b
}

// listed says whether the guest sees a volume. Pools only hold the chunks of others. Of a
// snapshot the metadata calls visible what describes it, the guest sees it by the name of its store.
func (b *builder) listed(name string) bool {
	lv := b.group.logical[name]
	kind := ""
	if s := lv.sections["segment1"]; s != nil {
		kind, _, _ = strings.Cut(s.text("type"), "+")
	}
	switch kind {
	case "snapshot", "thin-pool", "cache-pool", "vdo-pool":
		return false
	}
	return lv.has("status", "VISIBLE") || b.snapshots[name].store == name
}

// visible returns what the guest reads of a volume.
func (b *builder) visible(name string) (device.Device, error) {
	s, ok := b.snapshots[name]
	if !ok {
		return b.logical(name).device, b.logical(name).err
	}
	origin, store := b.logical(s.origin), b.logical(s.store)
	if err := errors.Join(origin.err, store.err); err != nil {
		return nil, err
	}
	return cow.Open(origin.device, store.device, &b.left.runs)
}

// logical returns what a volume itself holds, also one that the guest does not see.
func (b *builder) logical(name string) built {
	if done, ok := b.built[name]; ok {
		return done
	}
	// Whoever asks again while it is made is a part of itself.
	b.built[name] = built{err: fmt.Errorf("%q is a part of itself: %w", name, filesystem.ErrCorrupt)}
	b.nesting++
	made := b.segments(name)
	b.nesting--
	if made.err != nil {
		made.device = nil
	}
	b.built[name] = made
	return made
}

func (b *builder) segments(name string) built {
	lv := b.group.logical[name]
	if lv == nil {
		return built{err: fmt.Errorf("there is no volume %q: %w", name, filesystem.ErrCorrupt)}
	}
	if b.nesting > maxNesting {
		return built{err: fmt.Errorf("%q lies in more than %d others: %w", name, maxNesting, filesystem.ErrCorrupt)}
	}
	count, _ := lv.number("segment_count")
	if count < 1 || count > int64(len(lv.sections)) {
		return built{err: fmt.Errorf("%q has %d segments: %w", name, count, filesystem.ErrCorrupt)}
	}
	var parts []device.Device
	next, pieces := int64(0), 0
	for i := int64(1); i <= count; i++ {
		s := lv.sections[fmt.Sprintf("segment%d", i)]
		if s == nil {
			return built{err: fmt.Errorf("%q has no segment %d: %w", name, i, filesystem.ErrCorrupt)}
		}
		start, ok1 := s.number("start_extent")
		extents, ok2 := s.number("extent_count")
		if !ok1 || !ok2 || start != next || extents < 1 || extents > maxSize/b.group.extentSize-next {
			return built{err: fmt.Errorf("segment %d of %q: extents %d to %d: %w", i, name, start, start+extents, filesystem.ErrCorrupt)}
		}
		next += extents
		part := b.segment(s, extents*b.group.extentSize)
		if part.err != nil {
			return built{err: fmt.Errorf("%s, segment %d: %w", name, i, part.err)}
		}
		if pieces += part.pieces; pieces > maxPieces {
			return built{err: fmt.Errorf("%q in more than %d pieces: %w", name, maxPieces, filesystem.ErrUnsupported)}
		}
		parts = append(parts, part.device)
	}
	return built{device: mapping.Concat(parts...), pieces: pieces}
}

// segment makes the device of one segment, of size bytes.
func (b *builder) segment(s *section, size int64) built {
	switch kind := s.text("type"); kind {
	case "striped", "linear":
		return b.striped(s, size)
	case "mirror", "pvmove":
		return b.mirror(s, size)
	case "raid1":
		return b.raid1(s, size)
	case "raid0", "raid0_meta":
		return b.raid0(s, size)
	case "raid10", "raid10_near":
		return b.raid10(s, size)
	case "zero":
		return built{device: mapping.Zero(size), pieces: 1}
	case "error":
		return built{err: errors.New("the guest gets errors of it as well")}
	case "thin":
		return b.thin(s, size)
	default:
		return built{err: fmt.Errorf("segment type %q: %w", kind, filesystem.ErrUnsupported)}
	}
}

// areas returns the devices in a list of places, each a name and the number of an extent,
// cut to size bytes.
func (b *builder) areas(list []value, size int64) ([]device.Device, int, error) {
	var out []device.Device
	pieces := 0
	if len(list)%2 != 0 {
		return nil, 0, fmt.Errorf("half a place: %w", filesystem.ErrCorrupt)
	}
	for i := 0; i < len(list); i += 2 {
		d, n, err := b.area(list[i].text, list[i+1].number, size)
		if err != nil {
			return nil, 0, err
		}
		pieces += n
		out = append(out, d)
	}
	return out, pieces, nil
}

func (b *builder) area(name string, extent, size int64) (device.Device, int, error) {
	if extent < 0 || extent > maxSize/b.group.extentSize {
		return nil, 0, fmt.Errorf("extent %d of %q: %w", extent, name, filesystem.ErrCorrupt)
	}
	off := extent * b.group.extentSize
	of, pieces := device.Device(nil), 1
	if pv := b.group.physical[name]; pv != nil {
		p, err := b.physical(name, pv)
		if err != nil {
			return nil, 0, err
		}
		start, ok := pv.number("pe_start")
		if !ok || start > maxSize/sector {
			return nil, 0, fmt.Errorf("physical volume %s does not say where it begins: %w", name, filesystem.ErrCorrupt)
		}
		of, off = p.device, off+start*sector
	} else {
		lv := b.logical(name)
		if lv.err != nil {
			return nil, 0, lv.err
		}
		of, pieces = lv.device, lv.pieces
	}
	d, err := device.Section(of, off, size)
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", name, err)
	}
	return d, pieces, nil
}

// physical returns the device that the group calls name.
func (b *builder) physical(name string, pv *section) (*physical, error) {
	found := b.byUUID[bare(pv.text("id"))]
	switch {
	case len(found) == 0:
		return nil, fmt.Errorf("physical volume %s (UUID %s): %w", name, pv.text("id"), ErrMissing)
	case pv.has("flags", "MISSING"):
		return nil, fmt.Errorf("physical volume %s (%s) was missing when the guest last wrote: %w", name, found[0].name, ErrMissing)
	case len(found) > 1:
		return nil, fmt.Errorf("physical volume %s is on %s and on %s: %w", name, found[0].name, found[1].name, filesystem.ErrCorrupt)
	}
	return found[0], nil
}

func (b *builder) thin(s *section, size int64) built {
	pool, err := b.pool(s.text("thin_pool"))
	if err != nil {
		return built{err: err}
	}
	number, ok := s.number("device_id")
	if !ok {
		return built{err: fmt.Errorf("a thin volume without a number: %w", filesystem.ErrCorrupt)}
	}
	var external device.Device
	if name := s.text("external_origin"); name != "" {
		origin := b.logical(name)
		if origin.err != nil {
			return built{err: origin.err}
		}
		external = origin.device
	}
	d, err := pool.Volume(uint64(number), size, external)
	return built{device: d, pieces: 1, err: err}
}

func (b *builder) pool(name string) (*thin.Pool, error) {
	if p := b.pools[name]; p != nil {
		return p, nil
	}
	lv := b.group.logical[name]
	if lv == nil || lv.sections["segment1"] == nil {
		return nil, fmt.Errorf("there is no thin pool %q: %w", name, filesystem.ErrCorrupt)
	}
	s := lv.sections["segment1"]
	meta, data := b.logical(s.text("metadata")), b.logical(s.text("pool"))
	if err := errors.Join(meta.err, data.err); err != nil {
		return nil, fmt.Errorf("thin pool %s: %w", name, err)
	}
	if b.left.pools == 0 {
		return nil, fmt.Errorf("more than %d thin pools: %w", maxPools, filesystem.ErrUnsupported)
	}
	p, err := thin.Open(meta.device, data.device)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	b.left.pools--
	b.pools[name] = p
	return p, nil
}
