package luks

import "vmsync/fusefs/device"

// decrypted returns the payload under its key.
func (h *Header) decrypted(key []byte) (device.Device, error) {
	p := h.payload
	c, err := newSectors(p.encryption, key, p.sectorSize, p.tweak)
	if err != nil {
		return nil, err
	}
	of, err := device.Section(h.device, p.area.off, p.area.size)
	if err != nil {
		return nil, err
	}
	return &plain{of, c}, nil
}

// plain is decrypted data. What was never written is decrypted as well, into noise, as the
// guest's kernel does: there are no holes.
type plain struct {
	of      device.Device
	sectors *sectors
}

// Size implements device.Device.
func (p *plain) Size() int64 { return p.of.Size() }

// ReadAt implements device.Device.
func (p *plain) ReadAt(b []byte, off int64) (int, error) {
	return device.ReadWithin(b, off, p.Size(), p.readAt)
}

// readAt decrypts whole sectors where they are asked for, and the first and last, where
// only a part of them is, on the side.
func (p *plain) readAt(b []byte, off int64) (int, error) {
	size := p.sectors.size
	if off%size == 0 && int64(len(b))%size == 0 {
		return p.whole(b, off)
	}
	done := 0
	for done < len(b) {
		at := off + int64(done)
		if into := at % size; into != 0 || int64(len(b)-done) < size {
			one := make([]byte, size)
			if n, err := p.whole(one, at-into); n < len(one) {
				return done, err
			}
			done += copy(b[done:], one[into:])
			continue
		}
		rest := b[done : done+int(int64(len(b)-done)/size*size)]
		n, err := p.whole(rest, at)
		done += n
		if n < len(rest) {
			return done, err
		}
	}
	return done, nil
}

func (p *plain) whole(b []byte, off int64) (int, error) {
	n, err := p.of.ReadAt(b, off)
	if n < len(b) {
		return 0, err
	}
	if err := p.sectors.decrypt(b, off); err != nil {
		return 0, err
	}
	return n, nil
}

// Data implements device.Device: all of it is data.
func (p *plain) Data(off int64) (int64, int64, error) { return min(off, p.Size()), p.Size(), nil }
