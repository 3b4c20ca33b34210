package export

import (
	"errors"

	"vmsync/nbdproxy/nbdconn"
	"vmsync/nbdproxy/stream"
)

// statusChunk is how much of a disk one block-status request asks about. It
// bounds the reply: 16384 entries at a granularity of 64 KiB.
const statusChunk = 1 << 30

// walk calls emit for each range of the disk that is to be sent, in ascending
// order. Neighbouring ranges of one class may come apart.
func walk(l *lane, d *Disk, emit func(e stream.Extent, c class) error) error {
	var runs []run
	contexts := d.contexts()
	for offset := int64(0); offset < d.Size; {
		limit := min(statusChunk, d.Size-offset)
		got, err := l.blockStatus(offset, limit, contexts)
		if err != nil {
			return &Error{d.Name, err}
		}
		var dirty []nbdconn.Status
		if d.Bitmap != "" {
			dirty = got[1]
		}
		var covered int64
		runs, covered = merge(runs[:0], got[0], dirty, limit)
		if covered == 0 {
			return &Error{d.Name, errors.New("the server's block status covers nothing")}
		}
		for _, r := range runs {
			if r.class != unchanged {
				if err := emit(stream.Extent{Offset: offset, Length: r.length}, r.class); err != nil {
					return err
				}
			}
			offset += r.length
		}
	}
	return nil
}
