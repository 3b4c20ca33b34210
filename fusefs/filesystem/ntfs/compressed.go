package ntfs

import (
	"fmt"

	"vmsync/fusefs/filesystem"
)

// maxUnitSize is the most that is compressed together: 16 clusters of 4 KiB.
const maxUnitSize = 64 << 10

// A unitKey names a unit of a stream by the record and the attribute that begin it.
type unitKey struct {
	owner    uint64
	instance uint16
	unit     int64
}

func (s *stream) readUnits(p []byte, off int64) error {
	size := s.volume.layout.clusterSize << s.first.unitShift
	for len(p) > 0 {
		unit := off / size
		n := min(int64(len(p)), (unit+1)*size-off)
		content, stored, err := s.unit(unit)
		switch {
		case err != nil:
			return fmt.Errorf("compressed unit %d: %w", unit, err)
		case stored:
			if err := s.readRuns(p[:n], off); err != nil {
				return err
			}
		case content == nil:
			clear(p[:n])
		default:
			copy(p[:n], content[off-unit*size:])
		}
		p, off = p[n:], off+n
	}
	return nil
}

// unit returns the content of a unit, nil for zeros, or says that it is stored as it is. It is
// compressed where it has fewer clusters than it is long.
func (s *stream) unit(unit int64) (content []byte, stored bool, err error) {
	key := unitKey{s.owner, s.first.instance, unit}
	if content, found := s.volume.units.Get(key); found {
		return content, false, nil
	}
	begin, clusters := unit<<s.first.unitShift, int64(1)<<s.first.unitShift
	used := int64(0)
	for used < clusters {
		r, err := s.at(begin + used)
		if err != nil {
			return nil, false, err
		}
		if r.lcn == hole || r.length == 0 {
			break
		}
		used = min(clusters, r.vcn+r.length-begin)
	}
	switch used {
	case 0:
		return nil, false, nil
	case clusters:
		return nil, true, nil
	}
	size := s.volume.layout.clusterSize
	packed := make([]byte, used*size)
	if err := s.readRuns(packed, begin*size); err != nil {
		return nil, false, err
	}
	content = make([]byte, clusters*size)
	if err := decompress(content, packed); err != nil {
		return nil, false, err
	}
	s.volume.units.Put(key, content, len(content))
	return content, false, nil
}

func unsupported(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, filesystem.ErrUnsupported)...)
}
