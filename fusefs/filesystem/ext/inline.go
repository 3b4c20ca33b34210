package ext

import (
	"vmsync/fusefs/device"
)

// inlineFile is the content of a file that lies in its inode: in i_block, and for what
// does not fit there in the attribute system.data. What neither holds reads as zeros.
type inlineFile struct {
	size  int64
	bytes []byte
}

func (f *inlineFile) Size() int64 { return f.size }

func (f *inlineFile) ReadAt(p []byte, off int64) (int, error) {
	return device.ReadWithin(p, off, f.size, func(p []byte, off int64) (int, error) {
		n := 0
		if off < int64(len(f.bytes)) {
			n = copy(p, f.bytes[off:])
		}
		clear(p[n:])
		return len(p), nil
	})
}

func (f *inlineFile) Data(off int64) (int64, int64, error) { return min(off, f.size), f.size, nil }

// inlineData returns the bytes in an inode that has them there.
func (r *reader) inlineData(i *inode) ([]byte, error) {
	data := i.blockMap[:]
	if i.size <= int64(len(data)) {
		return data[:i.size], nil
	}
	rest, err := r.inlineRest(i)
	if err != nil {
		return nil, err
	}
	data = append(data[:len(data):len(data)], rest...)
	return data[:min(i.size, int64(len(data)))], nil
}

// inlineRest returns the value of system.data.
func (r *reader) inlineRest(i *inode) ([]byte, error) {
	entries, err := i.inodeXattrs()
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if e.index == xattrSystem && string(e.name) == "data" {
			return r.xattrValue(i, e)
		}
	}
	return nil, nil
}
