// Package mapping makes devices of parts of others: one after the other, in stripes, or
// of nothing but zeros. It is what device-mapper's simple targets do.
//
// It must never read outside of the parts that it was given, and it checks their sizes
// when it is given them.
package mapping

import (
	"sort"

	"vmsync/fusefs/device"
)

// Zero is a device of size bytes without data.
func Zero(size int64) device.Device { return zero(size) }

type zero int64

func (z zero) Size() int64 { return int64(z) }

func (z zero) ReadAt(p []byte, off int64) (int, error) {
	return device.ReadWithin(p, off, int64(z), func(p []byte, _ int64) (int, error) {
		clear(p)
		return len(p), nil
	})
}

func (z zero) Data(int64) (int64, int64, error) { return int64(z), int64(z), nil }

// Concat is the parts one after the other.
func Concat(parts ...device.Device) device.Device {
	if len(parts) == 1 {
		return parts[0]
	}
	c := &concat{parts: parts, ends: make([]int64, len(parts))}
	end := int64(0)
	for i, part := range parts {
		end += part.Size()
		c.ends[i] = end
	}
	return c
}

type concat struct {
	parts []device.Device
	ends  []int64
}

func (c *concat) Size() int64 {
	if len(c.ends) == 0 {
		return 0
	}
	return c.ends[len(c.ends)-1]
}

// part returns the part that holds off, and where it begins.
func (c *concat) part(off int64) (i int, start int64) {
	i = sort.Search(len(c.ends), func(i int) bool { return c.ends[i] > off })
	return i, c.ends[i] - c.parts[i].Size()
}

func (c *concat) ReadAt(p []byte, off int64) (int, error) {
	return device.ReadWithin(p, off, c.Size(), func(p []byte, off int64) (int, error) {
		done := 0
		for done < len(p) {
			at := off + int64(done)
			i, start := c.part(at)
			piece := p[done:min(int64(len(p)), int64(done)+c.ends[i]-at)]
			n, err := c.parts[i].ReadAt(piece, at-start)
			done += n
			if n < len(piece) {
				return done, err
			}
		}
		return done, nil
	})
}

func (c *concat) Data(off int64) (int64, int64, error) {
	for off < c.Size() {
		i, start := c.part(off)
		from, to, err := c.parts[i].Data(off - start)
		if err != nil {
			return 0, 0, err
		}
		if from < to {
			return start + from, start + to, nil
		}
		off = c.ends[i]
	}
	return c.Size(), c.Size(), nil
}
