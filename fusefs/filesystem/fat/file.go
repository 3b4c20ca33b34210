package fat

import (
	"fmt"

	"vmsync/fusefs/device"
	"vmsync/fusefs/filesystem"
)

// Open implements filesystem.FS.
func (v *volume) Open(id filesystem.ID) (filesystem.File, error) {
	if id == rootID {
		return nil, fmt.Errorf("the root: %w", filesystem.ErrIsDir)
	}
	r, err := v.record(id)
	if err != nil {
		return nil, err
	}
	if r.isDir() {
		return nil, fmt.Errorf("file %d: %w", id, filesystem.ErrIsDir)
	}
	size := int64(r.size())
	if size == 0 {
		return &openFile{volume: v}, nil
	}
	first := r.cluster(v.layout.bits)
	if !v.layout.valid(first) {
		return nil, fmt.Errorf("file %d begins at cluster %d of %d: %w", id, first, v.layout.clusters, filesystem.ErrCorrupt)
	}
	if (size-1)/v.layout.clusterSize >= int64(v.layout.clusters) {
		return nil, fmt.Errorf("file %d has %d bytes, more than the filesystem: %w", id, size, filesystem.ErrCorrupt)
	}
	return &openFile{v, id, size, newChain(v.table, first)}, nil
}

// An openFile is the content of a regular file. FAT knows no holes.
type openFile struct {
	volume *volume
	id     filesystem.ID
	size   int64
	chain  *chain // nil where the size is 0
}

func (f *openFile) Size() int64 { return f.size }

func (f *openFile) Data(off int64) (int64, int64, error) { return min(off, f.size), f.size, nil }

func (f *openFile) ReadAt(p []byte, off int64) (int, error) {
	return device.ReadWithin(p, off, f.size, f.read)
}

// read fills p, all of which is within the file.
func (f *openFile) read(p []byte, off int64) (int, error) {
	cluster := f.volume.layout.clusterSize
	done := 0
	for done < len(p) {
		index, within := off/cluster, off%cluster
		want := within + int64(len(p)-done)
		first, count, err := f.chain.extent(index, (want+cluster-1)/cluster)
		if err != nil {
			return done, fmt.Errorf("file %d at byte %d: %w", f.id, off, err)
		}
		n := int(min(count*cluster, want) - within)
		if err := readFull(f.volume.dev, p[done:done+n], f.volume.layout.offset(first)+within); err != nil {
			return done, fmt.Errorf("file %d at byte %d: %w", f.id, off, err)
		}
		done, off = done+n, off+int64(n)
	}
	return done, nil
}
