package thin

import (
	"fmt"

	"vmsync/fusefs/device"
	"vmsync/fusefs/filesystem"
)

// timeBits are the low bits of a mapping, which say when it was made.
const timeBits = 24

type volume struct {
	pool     *Pool
	root     uint64
	size     int64
	external device.Device // nil, or what is read where nothing is mapped
}

// Volume returns the volume of a number, of size bytes. Where it has no chunk of its own it
// reads as zeros, or as external, which may be smaller. The device is for many goroutines.
func (p *Pool) Volume(number uint64, size int64, external device.Device) (device.Device, error) {
	leaf, i, err := p.seek(p.devices, number)
	if err != nil {
		return nil, err
	}
	if leaf == nil || leaf.keys[i] != number {
		return nil, fmt.Errorf("the thin pool has no volume %d: %w", number, filesystem.ErrCorrupt)
	}
	v := &volume{pool: p, root: leaf.values[i], size: size, external: external}
	if _, err := p.node(v.root); err != nil {
		return nil, err
	}
	return v, nil
}

// extent is chunks that follow each other both in the volume and in the pool's data.
type extent struct {
	start, end int64 // in the volume
	data       int64 // where start is in the data
}

// next returns the first extent that ends after off, cut to what comes after off. Where
// there is none it is empty, at the volume's end.
func (v *volume) next(off int64) (extent, error) {
	chunk := v.pool.chunk
	leaf, i, err := v.pool.seek(v.root, uint64(off/chunk))
	if err != nil {
		return extent{}, err
	}
	last := uint64((v.size - 1) / chunk)
	if leaf == nil || leaf.keys[i] > last {
		return extent{v.size, v.size, 0}, nil
	}
	key, block := leaf.keys[i], leaf.values[i]>>timeBits
	count := uint64(1)
	for j := i + 1; j < len(leaf.keys) && leaf.keys[j] == key+count && leaf.values[j]>>timeBits == block+count; j++ {
		count++
	}
	count = min(count, last-key+1)
	if chunks := uint64(v.pool.data.Size() / chunk); block >= chunks || count > chunks-block {
		return extent{}, fmt.Errorf("thin pool: chunk %d is outside of its data: %w", block+count-1, filesystem.ErrCorrupt)
	}
	e := extent{start: int64(key) * chunk, data: int64(block) * chunk}
	e.end = min(e.start+int64(count-1)*chunk+min(chunk, v.size-e.start-int64(count-1)*chunk), v.size)
	if e.start < off {
		e.data += off - e.start
		e.start = off
	}
	return e, nil
}

// Size implements device.Device.
func (v *volume) Size() int64 { return v.size }

// ReadAt implements device.Device.
func (v *volume) ReadAt(p []byte, off int64) (int, error) {
	return device.ReadWithin(p, off, v.size, func(p []byte, off int64) (int, error) {
		done := 0
		for done < len(p) {
			at := off + int64(done)
			e, err := v.next(at)
			if err != nil {
				return done, err
			}
			if hole := min(e.start-at, int64(len(p)-done)); hole > 0 {
				if err := v.unmapped(p[done:done+int(hole)], at); err != nil {
					return done, err
				}
				done += int(hole)
				at += hole
			}
			if piece := p[done:min(int64(len(p)), int64(done)+e.end-at)]; len(piece) > 0 {
				n, err := v.pool.data.ReadAt(piece, e.data)
				done += n
				if n < len(piece) {
					return done, err
				}
			}
		}
		return done, nil
	})
}

func (v *volume) unmapped(p []byte, off int64) error {
	n := 0
	if v.external != nil && off < v.external.Size() {
		n = int(min(int64(len(p)), v.external.Size()-off))
		if got, err := v.external.ReadAt(p[:n], off); got < n {
			return err
		}
	}
	clear(p[n:])
	return nil
}

// Data implements device.Device: chunks that are mapped count as data.
func (v *volume) Data(off int64) (int64, int64, error) {
	if off >= v.size {
		return v.size, v.size, nil
	}
	e, err := v.next(off)
	if err != nil {
		return 0, 0, err
	}
	if v.external != nil && off < e.start {
		start, end, err := v.external.Data(off)
		if err != nil {
			return 0, 0, err
		}
		if start < min(end, e.start) {
			return start, min(end, e.start), nil
		}
	}
	return e.start, e.end, nil
}
