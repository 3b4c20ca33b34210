package export

import "vmsync/nbdproxy/stream"

// granule is the unit in which zeros are looked for and long extents are cut:
// the usual cluster size of qcow2. Smaller zero extents would save little and
// would cost the target a partial write each.
const granule = 64 << 10

// packExtents bounds the extents of a data frame before zeros are taken out of
// it, which may cut each granule's worth of them in two.
const packExtents = stream.MaxExtents - stream.MaxPayload/granule

// packer fills frames with extents: many small ones in one frame, long ones cut.
// It hands each full frame to its functions. data keeps the slice, zero does not.
type packer struct {
	data func([]stream.Extent) error
	zero func([]stream.Extent) error
	list func() []stream.Extent // makes an empty list for data

	extents []stream.Extent
	bytes   int64
	zeros   []stream.Extent
}

// add takes the next extent, which lies after all others.
func (p *packer) add(e stream.Extent, c class) error {
	if c == zero {
		return p.addZero(e)
	}
	for e.Length > 0 {
		n := fit(e, stream.MaxPayload-p.bytes)
		if n > 0 {
			if p.extents == nil {
				p.extents = p.list()
			}
			p.extents = join(p.extents, stream.Extent{Offset: e.Offset, Length: n})
			p.bytes += n
			e = stream.Extent{Offset: e.Offset + n, Length: e.Length - n}
		}
		if n == 0 || p.bytes == stream.MaxPayload || len(p.extents) == packExtents {
			if err := p.flushData(); err != nil {
				return err
			}
		}
	}
	return nil
}

// fit returns how much of e goes into room bytes. An extent is cut only at a
// multiple of the granule, so that no cluster is written in two parts.
func fit(e stream.Extent, room int64) int64 {
	if e.Length <= room {
		return e.Length
	}
	return max(0, (e.Offset+room)/granule*granule-e.Offset)
}

func (p *packer) addZero(e stream.Extent) error {
	p.zeros = join(p.zeros, e)
	if len(p.zeros) < stream.MaxExtents {
		return nil
	}
	return p.flushZero()
}

// flush hands over what is left.
func (p *packer) flush() error {
	if err := p.flushData(); err != nil {
		return err
	}
	return p.flushZero()
}

func (p *packer) flushData() error {
	extents := p.extents
	p.extents, p.bytes = nil, 0
	if len(extents) == 0 {
		return nil
	}
	return p.data(extents)
}

func (p *packer) flushZero() error {
	if len(p.zeros) == 0 {
		return nil
	}
	err := p.zero(p.zeros)
	p.zeros = p.zeros[:0]
	return err
}

// join appends e, or lengthens the last extent by it.
func join(extents []stream.Extent, e stream.Extent) []stream.Extent {
	if n := len(extents); n > 0 && extents[n-1].End() == e.Offset {
		extents[n-1].Length += e.Length
		return extents
	}
	return append(extents, e)
}
