package btrfs

// readData fills p with what lies at a logical address. With verify, both are whole
// sectors, and each sector is held against its checksum; one that does not match, or
// cannot be read, is read from the other copies.
func (r *reader) readData(p []byte, logical uint64, verify bool) error {
	first := r.volume.read(p, logical, 0)
	if !verify {
		for i := 1; first != nil && i < r.volume.copies(logical); i++ {
			if r.volume.read(p, logical, i) == nil {
				return nil
			}
		}
		return first
	}
	sector, size := int(r.super.sectorSize), r.super.csum.size
	for len(p) > 0 {
		sums, err := r.csums.at(logical)
		if err != nil {
			return err
		}
		if len(sums) < size {
			return corrupt("data at address %d has no checksum", logical)
		}
		for ; len(p) > 0 && len(sums) >= size; p, sums = p[sector:], sums[size:] {
			if first != nil || !r.super.csum.matches(p[:sector], sums[:size]) {
				if err := r.repairSector(p[:sector], logical, sums[:size]); err != nil {
					return err
				}
			}
			logical += uint64(sector)
		}
	}
	return nil
}

// repairSector fills p from the first copy that has the right checksum.
func (r *reader) repairSector(p []byte, logical uint64, sum []byte) error {
	var failed error
	for i := range r.volume.copies(logical) {
		err := r.volume.read(p, logical, i)
		if err == nil && r.super.csum.matches(p, sum) {
			return nil
		}
		if err == nil {
			err = corrupt("data at address %d: wrong checksum", logical)
		}
		if failed == nil {
			failed = err
		}
	}
	return failed
}

// readRange is readData for any range of bytes: where that has to be verified, the sectors
// around it are read as well.
func (r *reader) readRange(p []byte, logical uint64, verify bool) error {
	if !verify {
		return r.readData(p, logical, false)
	}
	sector := uint64(r.super.sectorSize)
	scratch := r.scratch.Get().(*[scratchBytes]byte)
	defer r.scratch.Put(scratch)
	for len(p) > 0 {
		before := logical % sector
		if whole := uint64(len(p)) / sector * sector; before == 0 && whole > 0 && (whole == uint64(len(p)) || whole >= scratchBytes) {
			if err := r.readData(p[:whole], logical, true); err != nil {
				return err
			}
			p, logical = p[whole:], logical+whole
			continue
		}
		n := min(uint64(len(p)), scratchBytes-before)
		if before != 0 && uint64(len(p)) > scratchBytes {
			n = sector - before // the rest is read without a copy
		}
		b := scratch[:(before+n+sector-1)/sector*sector]
		if err := r.readData(b, logical-before, true); err != nil {
			return err
		}
		copy(p[:n], b[before:])
		p, logical = p[n:], logical+n
	}
	return nil
}
