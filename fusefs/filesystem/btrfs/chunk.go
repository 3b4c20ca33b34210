package btrfs

import (
	"math/bits"
	"slices"
)

// Profiles of block groups, in a chunk's type ([format], "Block group types").
const (
	groupData = 1 << 0

	profileRAID0   = 1 << 3
	profileRAID1   = 1 << 4
	profileDup     = 1 << 5
	profileRAID10  = 1 << 6
	profileRAID5   = 1 << 7
	profileRAID6   = 1 << 8
	profileRAID1C3 = 1 << 9
	profileRAID1C4 = 1 << 10

	profileMask = 1<<11 - profileRAID0
)

const (
	stripeLength = 64 << 10

	chunkHeader = 48
	chunkStripe = 32

	// maxAddress bounds logical and physical addresses, so that sums of a few of them
	// cannot overflow.
	maxAddress = 1 << 60
)

// chunk is a range of logical addresses, and where the devices keep it.
type chunk struct {
	start, length uint64
	flags         uint64
	parity        int // stripes of parity in each row
	// copies is how many times each byte is there: the stripes are groups of as many,
	// the best one of a group first. Rows of 64 KiB go round the groups.
	copies  int
	striped bool
	stripes []stripe
}

// stripe is the part of a chunk on one device.
type stripe struct {
	device uint64
	offset uint64
	on     *member // nil where the device is missing
}

// parseChunk reads the chunk item of the logical address start, and returns how many bytes it
// has; more may follow.
func parseChunk(start uint64, b []byte) (chunk, int, error) {
	if len(b) < chunkHeader {
		return chunk{}, 0, corrupt("chunk %d: %d bytes", start, len(b))
	}
	c := chunk{start: start, length: le.Uint64(b), flags: le.Uint64(b[24:])}
	stripes, sub := int(le.Uint16(b[44:])), int(le.Uint16(b[46:]))
	size := chunkHeader + stripes*chunkStripe
	if stripes == 0 || len(b) < size {
		return chunk{}, 0, corrupt("chunk %d: %d stripes in %d bytes", start, stripes, len(b))
	}
	if c.length == 0 || c.length > maxAddress || start > maxAddress {
		return chunk{}, 0, corrupt("chunk %d: %d bytes", start, c.length)
	}
	for i := range stripes {
		b := b[chunkHeader+i*chunkStripe:]
		s := stripe{device: le.Uint64(b), offset: le.Uint64(b[8:])}
		if s.offset > maxAddress {
			return chunk{}, 0, corrupt("chunk %d: stripe at %d", start, s.offset)
		}
		c.stripes = append(c.stripes, s)
	}
	if err := c.setProfile(sub); err != nil {
		return chunk{}, 0, err
	}
	if length := le.Uint64(b[16:]); c.striped && length != stripeLength {
		return chunk{}, 0, unsupported("chunk %d: stripes of %d bytes", start, length)
	}
	return c, size, nil
}

// setProfile derives from the flags how stripes are laid out.
func (c *chunk) setProfile(sub int) error {
	n := len(c.stripes)
	mirrored := func(copies int) bool { c.copies = copies; return n == copies }
	ok := false
	switch profile := c.flags & profileMask; profile {
	case 0:
		ok = mirrored(1)
	case profileDup, profileRAID1:
		ok = mirrored(2)
	case profileRAID1C3:
		ok = mirrored(3)
	case profileRAID1C4:
		ok = mirrored(4)
	case profileRAID0:
		c.striped, c.copies, ok = true, 1, true
	case profileRAID10:
		c.striped, c.copies, ok = true, 2, sub == 2 && n%2 == 0
	case profileRAID5, profileRAID6:
		c.striped, c.copies, c.parity = true, 1, 1
		if profile == profileRAID6 {
			c.parity = 2
		}
		ok = n > c.parity
	default:
		if bits.OnesCount64(profile) == 1 {
			return unsupported("chunk %d: block group profile %#x", c.start, profile)
		}
	}
	if !ok {
		return corrupt("chunk %d: %d stripes, %d in a group, of type %#x", c.start, n, sub, c.flags)
	}
	return nil
}

// attach finds the members that the stripes lie on, and puts missing and outdated ones
// last in their group.
func (c *chunk) attach(members map[uint64]*member) {
	for i := range c.stripes {
		c.stripes[i].on = members[c.stripes[i].device]
	}
	for i := 0; i+c.copies <= len(c.stripes); i += c.copies {
		slices.SortStableFunc(c.stripes[i:i+c.copies], func(a, b stripe) int { return a.on.rank() - b.on.rank() })
	}
}

// locate returns the copies of the byte at off within the chunk, their distance from
// the stripes' begin, and how many bytes follow in the same way.
func (c *chunk) locate(off uint64) (copies []stripe, at, run uint64) {
	if !c.striped {
		return c.stripes, off, c.length - off
	}
	row, in := off/stripeLength, off%stripeLength
	columns := uint64(len(c.stripes)/c.copies - c.parity)
	column := row % columns
	row /= columns
	if c.parity > 0 {
		// Parity moves on by one device with each row, and data with it.
		column = (column + row) % uint64(len(c.stripes))
	}
	first := int(column) * c.copies
	return c.stripes[first : first+c.copies], row*stripeLength + in, min(stripeLength-in, c.length-off)
}

// factor is how many bytes of the devices each byte of the chunk takes, as statfs(2)
// counts them: parity is not counted.
func (c *chunk) factor() uint64 { return uint64(c.copies) }
