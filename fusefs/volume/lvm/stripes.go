package lvm

import (
	"fmt"

	"vmsync/fusefs/device"
	"vmsync/fusefs/filesystem"
	"vmsync/fusefs/volume/mapping"
)

func (b *builder) striped(s *section, size int64) built {
	list := s.values["stripes"]
	n, ok := s.number("stripe_count")
	if !ok || n < 1 || int64(len(list)) != 2*n || size/b.group.extentSize%n != 0 {
		return built{err: fmt.Errorf("%d places of %d stripes: %w", len(list)/2, n, filesystem.ErrCorrupt)}
	}
	parts, pieces, err := b.areas(list, size/n)
	if err != nil {
		return built{err: err}
	}
	if n == 1 {
		return built{device: parts[0], pieces: pieces}
	}
	return stripes(parts, s, size, pieces)
}

// stripes deals size bytes to the parts as the segment says.
func stripes(parts []device.Device, s *section, size int64, pieces int) built {
	chunk, ok := s.number("stripe_size")
	if !ok || chunk < 1 || chunk > maxSize/sector {
		return built{err: fmt.Errorf("stripes of %d sectors: %w", chunk, filesystem.ErrCorrupt)}
	}
	d, err := mapping.Stripes(parts, chunk*sector, size)
	if err != nil {
		err = fmt.Errorf("stripes: %w: %w", err, filesystem.ErrCorrupt)
	}
	return built{device: d, pieces: pieces, err: err}
}

// mirror reads the first leg, from which the others are made. Those may not be made yet:
// where the first is not there, nothing else is.
func (b *builder) mirror(s *section, size int64) built {
	list := s.values["mirrors"]
	if len(list) < 2 {
		return built{err: fmt.Errorf("a mirror of nothing: %w", filesystem.ErrCorrupt)}
	}
	parts, pieces, err := b.areas(list[:2], size)
	if err != nil {
		return built{err: err}
	}
	return built{device: parts[0], pieces: pieces}
}
