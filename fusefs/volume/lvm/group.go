package lvm

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"

	"vmsync/fusefs/device"
	"vmsync/fusefs/filesystem"
)

// Physical is a device that probe.Kind calls LVM2_member.
type Physical struct {
	Name   string // for messages
	Device device.Device
}

// Volume is a logical volume that the guest sees; those that others are made of are not among them.
type Volume struct {
	Group  string
	Name   string
	UUID   string
	Device device.Device // nil where Err is not
	Err    error
}

// Find returns the logical volumes on the physical ones, by group and name. A physical volume
// whose label or metadata cannot be read gives an error under its name; the others are found.
func Find(all []Physical) ([]Volume, map[string]error) {
	f := finder{byUUID: map[string][]*physical{}, newest: map[string]*group{}, errs: map[string]error{}, parsed: map[[sha256.Size]byte]error{}}
	for _, p := range all {
		f.add(p)
	}
	if f.text > maxText {
		for _, p := range all { // which of the groups are up to date is not known
			f.errs[p.Name] = fmt.Errorf("more than %d bytes of LVM metadata on all disks: %w", maxText, filesystem.ErrUnsupported)
		}
		return nil, f.errs
	}
	groups := make([]*group, 0, len(f.newest))
	for _, g := range f.newest {
		groups = append(groups, g)
	}
	sort.Slice(groups, func(i, j int) bool {
		if groups[i].name != groups[j].name {
			return groups[i].name < groups[j].name
		}
		return groups[i].uuid < groups[j].uuid
	})
	left := room{maxVolumes, maxPools, maxRuns}
	var volumes []Volume
	for _, g := range groups {
		found, err := g.volumes(f.byUUID, &left)
		volumes = append(volumes, found...)
		if err != nil {
			f.fail(g, err)
		}
	}
	return volumes, f.errs
}

// Bounds on what the groups of a machine take, which a guest could have describe the same few
// bytes in any number of ways.
const (
	maxText    = 16 << 20 // bytes of different metadata; parsed they take up to 30 times that
	maxVolumes = 4096     // that the guest sees
	maxPools   = 64       // of thin volumes: 1 MiB each
	maxRuns    = 1 << 20  // of snapshots: 24 bytes each
)

// room is what is left of the bounds.
type room struct{ volumes, pools, runs int }

type finder struct {
	byUUID map[string][]*physical
	newest map[string]*group // by the group's UUID
	errs   map[string]error
	parsed map[[sha256.Size]byte]error // what parsing metadata gave, of which each physical volume has a copy
	text   int                         // bytes of it
}

// fail gives an error to the physical volumes of a group.
func (f *finder) fail(g *group, err error) {
	for _, pv := range g.physical {
		for _, p := range f.byUUID[bare(pv.text("id"))] {
			f.errs[p.name] = err
		}
	}
}

func (f *finder) add(d Physical) {
	p, err := readLabel(d.Device)
	if err != nil {
		f.errs[d.Name] = err
		return
	}
	p.name = d.Name
	f.byUUID[p.uuid] = append(f.byUUID[p.uuid], p)
	// A damaged copy of the metadata does not matter where another is whole.
	var failed []error
	good := false
	for _, area := range p.areas {
		text, err := p.metadata(area)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		if text == nil {
			continue
		}
		if err := f.understand(text); err != nil {
			failed = append(failed, err)
			continue
		}
		good = true
	}
	if err := errors.Join(failed...); err != nil && !good {
		f.errs[d.Name] = err
	}
}

// understand takes the metadata of a group, unless newer is known. What there is no room for
// it leaves to [Find] to refuse.
func (f *finder) understand(text []byte) error {
	sum := sha256.Sum256(text)
	if err, known := f.parsed[sum]; known {
		return err
	}
	f.parsed[sum] = nil
	if f.text += len(text); f.text > maxText {
		return nil
	}
	g, err := parseGroup(text)
	if err != nil {
		f.parsed[sum] = err
		return err
	}
	if old := f.newest[g.uuid]; old == nil || g.sequence > old.sequence {
		f.newest[g.uuid] = g
	}
	return nil
}

// group is a volume group as its metadata describes it.
type group struct {
	name, uuid string
	sequence   int64
	extentSize int64 // bytes
	physical   map[string]*section
	logical    map[string]*section
	order      []string // names of logical volumes
}

func parseGroup(text []byte) (*group, error) {
	root, err := parseText(text)
	if err != nil {
		return nil, err
	}
	for _, name := range root.order {
		s := root.sections[name]
		sequence, ok1 := s.number("seqno")
		extentSize, ok2 := s.number("extent_size")
		if !ok1 {
			continue
		}
		if !ok2 || extentSize == 0 || extentSize > 1<<32 {
			return nil, fmt.Errorf("volume group %q has no size of extents: %w", name, filesystem.ErrCorrupt)
		}
		if format := s.text("format"); format != "lvm2" && format != "" {
			return nil, fmt.Errorf("volume group %q of format %q: %w", name, format, filesystem.ErrUnsupported)
		}
		g := &group{name: name, uuid: s.text("id"), sequence: sequence, extentSize: extentSize * sector}
		if p := s.sections["physical_volumes"]; p != nil {
			g.physical = p.sections
		}
		if l := s.sections["logical_volumes"]; l != nil {
			g.logical, g.order = l.sections, l.order
		}
		sort.Strings(g.order)
		return g, nil
	}
	return nil, fmt.Errorf("LVM metadata without a volume group: %w", filesystem.ErrCorrupt)
}

// volumes makes the devices of the visible logical volumes, or none where there is no room for
// all of them.
func (g *group) volumes(byUUID map[string][]*physical, left *room) ([]Volume, error) {
	b := newBuilder(g, byUUID, left)
	names := slices.DeleteFunc(slices.Clone(g.order), func(name string) bool { return !b.listed(name) })
	if len(names) > left.volumes {
		return nil, fmt.Errorf("volume group %s brings more than %d logical volumes: %w", g.name, maxVolumes, filesystem.ErrUnsupported)
	}
	left.volumes -= len(names)
	var out []Volume
	for _, name := range names {
		s := g.logical[name]
		v := Volume{Group: g.name, Name: name, UUID: s.text("id")}
		v.Device, v.Err = b.visible(name)
		if v.Err != nil {
			v.Device = nil
			v.Err = fmt.Errorf("logical volume %s/%s: %w", g.name, name, v.Err)
		}
		out = append(out, v)
	}
	return out, nil
}

// bare is a UUID without the dashes that the text has.
func bare(uuid string) string { return strings.ReplaceAll(uuid, "-", "") }
