package lvm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"

	"vmsync/fusefs/device"
	"vmsync/fusefs/filesystem"
)

// raidMagic begins the superblock that dm-raid keeps for each image of a volume.
const raidMagic = 0x64526d44

// image is a leg of a mirror, or a stripe.
type image struct {
	device  device.Device
	pieces  int
	err     error
	meta    *raidSuperblock // nil where there is none
	healthy error           // why it may be stale
}

type raidSuperblock struct {
	events, failed uint64
	recovered      uint64 // sectors; all bits where nothing is to recover
}

// images returns the images of a segment, in their order.
func (b *builder) images(s *section) ([]image, error) {
	if _, reshaping := s.values["data_offset"]; reshaping {
		return nil, fmt.Errorf("RAID that is being reshaped: %w", filesystem.ErrUnsupported)
	}
	list := s.values["raids"]
	if list == nil {
		list = s.values["raid0_lvs"]
	}
	var out []image
	var meta string
	for _, v := range list {
		switch {
		case !v.isText:
		case strings.Contains(v.text, "_rmeta_"):
			meta = v.text
		default:
			lv := b.logical(v.text)
			i := image{device: lv.device, pieces: lv.pieces, err: lv.err}
			if meta != "" && lv.err == nil {
				i.meta = readRaidSuperblock(b.logical(meta))
			}
			out = append(out, i)
			meta = ""
		}
	}
	count, ok := s.number("device_count")
	if !ok {
		count, ok = s.number("stripe_count")
	}
	if !ok || count != int64(len(out)) || count == 0 {
		return nil, fmt.Errorf("%d images of %d: %w", len(out), count, filesystem.ErrCorrupt)
	}
	judge(out)
	return out, nil
}

// readRaidSuperblock returns nil where the guest never wrote one, or it cannot be read.
func readRaidSuperblock(lv built) *raidSuperblock {
	if lv.err != nil {
		return nil
	}
	raw := make([]byte, sector)
	le := binary.LittleEndian
	if _, err := lv.device.ReadAt(raw, 0); err != nil || le.Uint32(raw) != raidMagic {
		return nil
	}
	return &raidSuperblock{le.Uint64(raw[16:]), le.Uint64(raw[24:]), le.Uint64(raw[32:])}
}

// judge says which images may be stale: those that the newest superblock calls failed, and
// those that are not yet recovered. Without any superblock the array was never in use.
func judge(images []image) {
	var newest *raidSuperblock
	for _, i := range images {
		if i.meta != nil && (newest == nil || i.meta.events > newest.events) {
			newest = i.meta
		}
	}
	if newest == nil {
		return
	}
	for n := range images {
		i := &images[n]
		switch {
		case i.err != nil:
		case i.meta == nil:
			i.healthy = fmt.Errorf("image %d has no superblock", n)
		case n < 64 && newest.failed&(1<<n) != 0:
			i.healthy = fmt.Errorf("image %d failed", n)
		// The superblocks are written one after the other.
		case i.meta.events+1 < newest.events:
			i.healthy = fmt.Errorf("image %d is at event %d of %d", n, i.meta.events, newest.events)
		case i.meta.recovered != math.MaxUint64:
			i.healthy = fmt.Errorf("image %d is recovered up to sector %d", n, i.meta.recovered)
		}
	}
}

// first returns the first of the images that can be read and is up to date.
func first(images []image) (image, error) {
	var errs []error
	for _, i := range images {
		if i.err == nil && i.healthy == nil {
			return i, nil
		}
		errs = append(errs, i.err, i.healthy)
	}
	return image{}, fmt.Errorf("no image is up to date: %w", errors.Join(errs...))
}

func (b *builder) raid1(s *section, size int64) built {
	images, err := b.images(s)
	if err != nil {
		return built{err: err}
	}
	i, err := first(images)
	if err != nil {
		return built{err: err}
	}
	d, err := device.Section(i.device, 0, size)
	return built{device: d, pieces: i.pieces, err: err}
}

func (b *builder) raid0(s *section, size int64) built {
	images, err := b.images(s)
	if err != nil {
		return built{err: err}
	}
	parts, pieces := []device.Device(nil), 0
	for _, i := range images {
		if i.err != nil {
			return built{err: i.err}
		}
		parts, pieces = append(parts, i.device), pieces+i.pieces
	}
	return stripes(parts, s, size, pieces)
}

// raid10 reads the "near" layout: copies of a chunk follow each other over the images, so
// that where their number fits, each stripe is a mirror of its own.
func (b *builder) raid10(s *section, size int64) built {
	images, err := b.images(s)
	if err != nil {
		return built{err: err}
	}
	copies, ok := s.number("data_copies")
	if !ok {
		copies = 2
	}
	if copies < 1 || copies > int64(len(images)) || len(images)%int(copies) != 0 {
		return built{err: fmt.Errorf("RAID 10 of %d images with %d copies: %w", len(images), copies, filesystem.ErrUnsupported)}
	}
	parts, pieces := []device.Device(nil), 0
	for ; len(images) > 0; images = images[copies:] {
		i, err := first(images[:copies])
		if err != nil {
			return built{err: err}
		}
		parts, pieces = append(parts, i.device), pieces+i.pieces
	}
	return stripes(parts, s, size, pieces)
}
