package ext

// journalScan walks along the log to find its end: the first transaction that was not
// committed, or whose commit is not of this log but left over from an earlier round.
type journalScan struct {
	j          *journal
	at         uint64
	sequence   uint32
	left       uint64 // blocks until the ring is full
	suspect    bool   // a checksum was wrong: is this a leftover?
	failed     bool   // the commit at end had a wrong checksum
	end        uint32
	commitTime uint64
	sum        uint32 // of the transaction's blocks, with the oldest kind of checksum
	table      *[256]uint32
	buf        []byte
}

// scan returns the number of the first transaction that must not be replayed. An error
// means that the kernel would refuse to mount.
func (j *journal) scan() (uint32, error) {
	s := &journalScan{
		j: j, at: j.start, sequence: j.sequence, left: j.end - j.first,
		sum: ^uint32(0), table: crc32BETable(), buf: make([]byte, j.r.sb.blockSize),
	}
	b := make([]byte, j.r.sb.blockSize)
	for {
		more, err := s.step(b)
		if err != nil {
			return 0, err
		}
		if !more && s.failed {
			return s.end, nil
		}
		if !more {
			return s.sequence, nil
		}
	}
}

// step reads the next block that is no content into b.
func (s *journalScan) step(b []byte) (bool, error) {
	j := s.j
	if err := j.read(b, s.at); err != nil {
		return false, err
	}
	if be.Uint32(b) != journalMagic || be.Uint32(b[8:]) != s.sequence {
		return false, nil
	}
	if err := s.advance(1); err != nil {
		return false, err
	}
	switch be.Uint32(b[4:]) {
	case journalDescriptor:
		s.suspect = s.suspect || !j.intact(b)
		blocks := j.countTags(b)
		if j.compat&journalCompatChecksum != 0 && !s.suspect && !s.failed {
			if err := s.add(b, blocks); err != nil {
				return false, err
			}
		}
		return true, s.advance(blocks)
	case journalRevoke:
		s.suspect = s.suspect || !j.intact(b)
		return true, nil
	case journalCommit:
		return s.commit(b)
	}
	return false, nil
}

func (s *journalScan) advance(blocks uint64) error {
	if blocks > s.left {
		return corrupt("transaction %d is longer than the journal", s.sequence)
	}
	s.left -= blocks
	s.at = s.j.after(s.at, blocks)
	return nil
}

// add adds a descriptor and its blocks to the transaction's checksum.
func (s *journalScan) add(b []byte, blocks uint64) error {
	s.sum = crc32BE(s.sum, b, s.table)
	for n := range blocks {
		if err := s.j.read(s.buf, s.j.after(s.at, n)); err != nil {
			return err
		}
		s.sum = crc32BE(s.sum, s.buf, s.table)
	}
	return nil
}

// commit handles a commit block. One that is older than the last one is a leftover.
func (s *journalScan) commit(b []byte) (bool, error) {
	time := be.Uint64(b[0x30:])
	ok := !s.suspect && s.j.commitIntact(b)
	if s.j.compat&journalCompatChecksum != 0 && !s.suspect {
		if s.failed {
			return false, corrupt("the journal's transaction %d is damaged, and others follow it", s.end)
		}
		kind, size, sum := b[0xC], b[0xD], be.Uint32(b[0x10:])
		unused := kind == 0 && size == 0 && sum == 0
		ok = ok && (unused || (kind == 1 && size == 4 && sum == s.sum))
		s.sum = ^uint32(0)
	}
	if !ok {
		if time < s.commitTime {
			return false, nil
		}
		// Only asynchronous commits can be written before their blocks are.
		if s.suspect || s.j.incompat&journalAsyncCommit == 0 {
			return false, corrupt("the checksum of the journal's transaction %d is wrong", s.sequence)
		}
		if !s.failed {
			s.failed, s.end = true, s.sequence
		}
	}
	s.commitTime = time
	s.sequence++
	return true, nil
}
