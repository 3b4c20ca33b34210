package ntfs

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"vmsync/fusefs/filesystem"
)

// A directory is a B-tree of names: a root in the file's record, and blocks.
type directory struct {
	number    uint64
	root      []byte // the root's node
	blockSize int64
	vcnSize   int64   // the unit of references to blocks, in bytes
	blocks    *stream // nil where there are none
	inUse     *stream // a bit for each block
}

const (
	indexName     = "$\x00I\x003\x000\x00"
	maxIndexBlock = 64 << 10
	// maxDepth is more than a B-tree of 2^32 names can have.
	maxDepth = 32
)

// directory opens the index of a directory.
func (v *volume) directory(id filesystem.ID) (*directory, error) {
	if dir, found := v.dirs.Get(id); found {
		return dir, nil
	}
	r, err := v.file(id)
	if err != nil {
		return nil, err
	}
	if r.flags()&recordDir == 0 {
		return nil, fmt.Errorf("file %d: %w", r.number, filesystem.ErrNotDir)
	}
	root, err := v.stream(r, typeIndexRoot, []byte(indexName))
	if err != nil {
		return nil, err
	}
	if root == nil || !root.first.resident || len(root.first.value) < 32 {
		return nil, corrupt("directory %d has no index", r.number)
	}
	b := root.first.value
	if kind := binary.LittleEndian.Uint32(b); kind != typeFileName {
		return nil, corrupt("directory %d is an index of 0x%x", r.number, kind)
	}
	dir := &directory{number: r.number, root: b[16:], blockSize: int64(binary.LittleEndian.Uint32(b[8:]))}
	if dir.blockSize < sectorSize || dir.blockSize > maxIndexBlock || bits.OnesCount64(uint64(dir.blockSize)) != 1 {
		return nil, corrupt("directory %d has blocks of %d bytes", r.number, dir.blockSize)
	}
	dir.vcnSize = v.layout.clusterSize
	if dir.vcnSize > dir.blockSize {
		dir.vcnSize = sectorSize
	}
	if dir.blocks, err = v.stream(r, typeIndexBlock, []byte(indexName)); err != nil {
		return nil, err
	}
	if dir.inUse, err = v.stream(r, typeBitmap, []byte(indexName)); err != nil {
		return nil, err
	}
	if dir.blocks != nil && dir.blocks.Size() > v.dev.Size() {
		return nil, corrupt("directory %d has %d bytes, more than the device", r.number, dir.blocks.Size())
	}
	v.dirs.Put(id, dir, 1)
	return dir, nil
}

// A blockKey names a block of a directory.
type blockKey struct {
	directory uint64
	vcn       int64
}

// node returns the node in a directory's block.
func (v *volume) node(dir *directory, vcn int64) ([]byte, error) {
	key := blockKey{dir.number, vcn}
	if b, found := v.blocks.Get(key); found {
		return b, nil
	}
	if dir.blocks == nil || vcn < 0 || vcn > maxVCN || vcn*dir.vcnSize > dir.blocks.Size()-dir.blockSize {
		return nil, corrupt("directory %d has no block at %d", dir.number, vcn)
	}
	b := make([]byte, dir.blockSize)
	if _, err := dir.blocks.read(b, vcn*dir.vcnSize); err != nil {
		return nil, err
	}
	if err := fixUp(b, "INDX"); err != nil {
		return nil, fmt.Errorf("block %d of directory %d: %w", vcn, dir.number, err)
	}
	if at := int64(binary.LittleEndian.Uint64(b[16:])); at != vcn {
		return nil, corrupt("block %d of directory %d says it is block %d", vcn, dir.number, at)
	}
	v.blocks.Put(key, b[24:], len(b))
	return b[24:], nil
}

// An indexEntry is an entry of a node. Its name is the node's.
type indexEntry struct {
	ref       reference
	name      []byte // little-endian UTF-16; nil for the last entry
	namespace byte
	flags     uint32 // of the file
	child     int64  // the block with the names before this one, noChild for none
}

const (
	noChild      = -1
	namespaceDOS = 2

	entryHasChild = 1
	entryIsLast   = 2
)

// eachEntry calls yield for the entries of a node until it returns false. The last one
// has no name.
func eachEntry(node []byte, yield func(*indexEntry) bool) error {
	le := binary.LittleEndian
	at, end := int64(le.Uint32(node)), int64(le.Uint32(node[4:]))
	if end > int64(len(node)) {
		return corrupt("a node of %d bytes in %d", end, len(node))
	}
	for {
		if at < 16 || at+16 > end {
			return corrupt("a node without a last entry")
		}
		length, keyLength, flags := int64(le.Uint16(node[at+8:])), int64(le.Uint16(node[at+10:])), le.Uint16(node[at+12:])
		if length < 16 || length > end-at {
			return corrupt("an entry of %d bytes at %d", length, at)
		}
		b := node[at : at+length]
		e := indexEntry{ref: reference(le.Uint64(b)), child: noChild}
		if flags&entryHasChild != 0 {
			if length < 24 {
				return corrupt("an entry of %d bytes at %d", length, at)
			}
			e.child = int64(le.Uint64(b[length-8:]))
		}
		if flags&entryIsLast != 0 {
			yield(&e)
			return nil
		}
		key, err := part(b, 16, keyLength)
		if err != nil {
			return err
		}
		if len(key) < 66 || len(key) < 66+2*int(key[64]) {
			return corrupt("a name of %d bytes at %d", len(key), at)
		}
		e.name, e.namespace, e.flags = key[66:66+2*int(key[64])], key[65], le.Uint32(key[56:])
		if !yield(&e) {
			return nil
		}
		at += length
	}
}

// hidden says whether a file is one of the filesystem's own, or the root's name for itself.
func (e *indexEntry) hidden() bool { return e.ref.number() < firstUser || len(e.name) == 0 }
