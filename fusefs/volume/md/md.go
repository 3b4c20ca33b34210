// Package md reads mirrors of Linux' software RAID (mdadm, level 1), with superblocks of
// version 0.90, 1.0, 1.1 and 1.2.
//
// It must never read a member that the array had put aside, or one that is not yet rebuilt.
package md

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sort"
	"strings"

	"vmsync/fusefs/device"
	"vmsync/fusefs/filesystem"
)

// Member is a device that probe.Kind calls linux_raid_member.
type Member struct {
	Name   string // for messages
	Device device.Device
}

// Array is what the guest calls /dev/md….
type Array struct {
	Name   string // as it was given to mdadm, without the host's; "" where there is none
	UUID   string // as mdadm prints it
	Device device.Device
	Err    error
}

// Find puts members together to arrays, in the order of their UUIDs. A member whose superblock
// cannot be read gives an error under its name.
func Find(members []Member) ([]Array, map[string]error) {
	sets := map[string][]*super{}
	errs := map[string]error{}
	for _, m := range members {
		s, err := readSuper(m.Device)
		if err != nil {
			errs[m.Name] = err
			continue
		}
		s.member = m
		sets[s.uuid] = append(sets[s.uuid], s)
	}
	uuids := make([]string, 0, len(sets))
	for uuid := range sets {
		uuids = append(uuids, uuid)
	}
	sort.Strings(uuids)
	arrays := make([]Array, 0, len(uuids))
	for _, uuid := range uuids {
		a := Array{UUID: uuid, Name: sets[uuid][0].name}
		a.Device, a.Err = assemble(sets[uuid])
		arrays = append(arrays, a)
	}
	return arrays, errs
}

// assemble takes the first of the members that are in use and saw the array's last change.
func assemble(set []*super) (device.Device, error) {
	newest := set[0]
	for _, s := range set {
		if s.level != 1 {
			return nil, fmt.Errorf("RAID level %d: %w", s.level, filesystem.ErrUnsupported)
		}
		if s.unknown != 0 {
			return nil, fmt.Errorf("RAID with features %#x: %w", s.unknown, filesystem.ErrUnsupported)
		}
		if s.events > newest.events {
			newest = s
		}
	}
	var refused []error
	for _, s := range set {
		switch {
		// Superblocks are written one after the other.
		case s.events+1 < newest.events:
			refused = append(refused, fmt.Errorf("%s is at event %d of %d", s.member.Name, s.events, newest.events))
		// One that failed was not told: that is in the superblocks of the others alone.
		case !newest.counts(s.number):
			refused = append(refused, fmt.Errorf("%s has failed, says %s", s.member.Name, newest.member.Name))
		case !s.active:
			refused = append(refused, fmt.Errorf("%s is not in use, or not rebuilt", s.member.Name))
		default:
			return device.Section(s.member.Device, s.start, s.size)
		}
	}
	return nil, fmt.Errorf("no member of the mirror is up to date: %w", errors.Join(refused...))
}

// super is what a member's superblock says.
type super struct {
	member      Member
	uuid, name  string
	level       int32
	events      uint64
	number      uint32 // of the member in the array
	inUse       []bool // members by their numbers, as this one knows them
	active      bool   // this one is in use, and holds all of the data
	unknown     uint32 // features that change where data is
	start, size int64  // bytes
}

// counts says whether the member of a number is in use.
func (s *super) counts(number uint32) bool {
	return number < uint32(len(s.inUse)) && s.inUse[number]
}

const (
	sector  = 512
	magic   = 0xa92b4efc
	size1   = 256 // bytes of version 1 before its list of roles
	maxRole = 2048
)

// readSuper looks where each version keeps its superblock.
func readSuper(d device.Device) (*super, error) {
	size := d.Size()
	for _, at := range []int64{0, 4096, (size/sector - 16) &^ 7 * sector} {
		if s, err := readVersion1(d, at); s != nil || err != nil {
			return s, err
		}
	}
	return readVersion0(d, size&^0xffff-0x10000)
}

func read(d device.Device, at int64, n int) ([]byte, error) {
	raw := make([]byte, n)
	if at < 0 {
		return raw, nil
	}
	if _, err := d.ReadAt(raw, at); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("reading the RAID superblock: %w", err)
	}
	return raw, nil
}

// readVersion1 returns nil where there is no such superblock.
func readVersion1(d device.Device, at int64) (*super, error) {
	raw, err := read(d, at, size1+2*maxRole)
	if err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	if at < 0 || le.Uint32(raw) != magic || le.Uint32(raw[4:]) != 1 || le.Uint64(raw[144:]) != uint64(at/sector) {
		return nil, nil
	}
	roles := le.Uint32(raw[220:])
	if roles > maxRole {
		return nil, fmt.Errorf("RAID with %d members: %w", roles, filesystem.ErrUnsupported)
	}
	covered := raw[:size1+2*roles]
	sum := le.Uint32(raw[216:])
	le.PutUint32(raw[216:], 0)
	if sum != checksum1(covered) {
		return nil, fmt.Errorf("the RAID superblock at %d: wrong checksum: %w", at, filesystem.ErrCorrupt)
	}
	const (
		hasBitmap, recovering, badBlocks, replacement, recoveryBitmap, versionedBitmap = 1, 2, 8, 16, 128, 256
		// aside are features of members that do not hold all of the array's data.
		aside = recovering | badBlocks | replacement | recoveryBitmap
		known = hasBitmap | versionedBitmap | aside
	)
	features := le.Uint32(raw[8:])
	inUse := make([]bool, roles)
	for i := range inUse {
		inUse[i] = le.Uint16(raw[size1+2*i:]) < 0xfffd
	}
	name := text(raw[32:64])
	if _, after, ok := strings.Cut(name, ":"); ok {
		name = after // the host that made it comes first
	}
	s := &super{
		uuid: fmt.Sprintf("%08x:%08x:%08x:%08x", be.Uint32(raw[16:]), be.Uint32(raw[20:]), be.Uint32(raw[24:]), be.Uint32(raw[28:])),
		name: name, level: int32(le.Uint32(raw[72:])), events: le.Uint64(raw[200:]),
		number: le.Uint32(raw[160:]), inUse: inUse, unknown: features &^ known,
	}
	s.active = s.counts(s.number) && features&aside == 0
	start, size := le.Uint64(raw[128:]), le.Uint64(raw[80:])
	if start > 1<<53 || size > 1<<53 {
		return nil, fmt.Errorf("RAID of %d sectors from %d on: %w", size, start, filesystem.ErrCorrupt)
	}
	s.start, s.size = int64(start)*sector, int64(size)*sector
	return s, nil
}

var be = binary.BigEndian

// checksum1 sums 32 bit words, and what the last two bytes may be, and folds the sum.
func checksum1(raw []byte) uint32 {
	sum := uint64(0)
	for ; len(raw) >= 4; raw = raw[4:] {
		sum += uint64(binary.LittleEndian.Uint32(raw))
	}
	if len(raw) == 2 {
		sum += uint64(binary.LittleEndian.Uint16(raw))
	}
	return uint32(sum) + uint32(sum>>32)
}

// readVersion0 reads the superblock of 4 KiB of version 0.90, written by a little-endian machine.
func readVersion0(d device.Device, at int64) (*super, error) {
	raw, err := read(d, at, 4096)
	if err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	word := func(i int) uint32 { return le.Uint32(raw[4*i:]) }
	if at < 0 || word(0) != magic || word(1) != 0 {
		return nil, fmt.Errorf("no RAID superblock of a known version: %w", filesystem.ErrUnsupported)
	}
	sum := word(38)
	le.PutUint32(raw[4*38:], 0)
	if sum != checksum1(raw) {
		return nil, fmt.Errorf("the RAID superblock at %d: wrong checksum: %w", at, filesystem.ErrCorrupt)
	}
	const (
		disks, own, words      = 128, 1024 - 32, 32 // where disks are described, and this one; how long each is
		faulty, active, insync = 1 << 0, 1 << 1, 1 << 2
	)
	usable := func(at int) bool { return word(at+4)&(faulty|active|insync) == active|insync }
	s := &super{
		uuid:  fmt.Sprintf("%08x:%08x:%08x:%08x", word(5), word(13), word(14), word(15)),
		level: int32(word(7)), events: uint64(word(39)) | uint64(word(40))<<32,
		number: word(own), active: usable(own),
		size: int64(word(8)) * 1024,
	}
	for at := disks; at < own; at += words {
		s.inUse = append(s.inUse, usable(at))
	}
	return s, nil
}

func text(b []byte) string {
	s, _, _ := strings.Cut(string(b), "\x00")
	return s
}
