package btrfs

// Kinds of file extents and their compression ([format], "EXTENT_DATA").
const (
	extentInline   = 0
	extentRegular  = 1
	extentPrealloc = 2

	compressNone = 0
	compressZlib = 1
	compressLZO  = 2
	compressZstd = 3

	extentHeader = 21
	extentItem   = 53

	extentCompression = 16
	extentEncryption  = 17
	extentKind        = 20
	extentDisk        = 21
	extentDiskSize    = 29
	extentOffset      = 37
	extentLength      = 45
)

// maxExtent is how much a compressed extent can hold, on disk and unpacked.
const maxExtent = 128 << 10

// maxFileSize is 2⁶³ less room for sums.
const maxFileSize = 1<<63 - 1<<20

// extent is where a file keeps the bytes from start to end.
type extent struct {
	start, end  uint64
	kind        uint8
	compression uint8
	disk        uint64 // logical address; 0 for a hole
	diskSize    uint64
	offset      uint64 // of start within what is at disk, unpacked
	plainSize   uint64 // of all that is at disk, unpacked
	inline      []byte
}

// hasData says whether there is something else than zeros.
func (e *extent) hasData() bool {
	return e.kind == extentInline || e.kind == extentRegular && e.disk != 0
}

func parseExtent(k key, b []byte) (extent, error) {
	if len(b) < extentHeader {
		return extent{}, corrupt("extent %v: %d bytes", k, len(b))
	}
	e := extent{start: k.offset, kind: b[extentKind], compression: b[extentCompression], plainSize: le.Uint64(b[8:])}
	if b[extentEncryption] != 0 || le.Uint16(b[18:]) != 0 {
		return extent{}, unsupported("extent %v: encryption %d, encoding %d", k, b[extentEncryption], le.Uint16(b[18:]))
	}
	if e.compression > compressZstd {
		return extent{}, unsupported("extent %v: compression %d", k, e.compression)
	}
	if e.kind == extentInline {
		e.inline, e.end = b[extentHeader:], e.start+e.plainSize
		switch {
		case e.start != 0, e.plainSize > maxExtent:
			return extent{}, corrupt("extent %v: %d bytes inline", k, e.plainSize)
		case e.compression == compressNone && e.plainSize != uint64(len(e.inline)):
			return extent{}, corrupt("extent %v: %d bytes of %d inline", k, len(e.inline), e.plainSize)
		}
		return e, nil
	}
	if e.kind > extentPrealloc || len(b) < extentItem {
		return extent{}, corrupt("extent %v: kind %d in %d bytes", k, e.kind, len(b))
	}
	e.disk, e.diskSize = le.Uint64(b[extentDisk:]), le.Uint64(b[extentDiskSize:])
	e.offset = le.Uint64(b[extentOffset:])
	length := le.Uint64(b[extentLength:])
	if e.start > maxFileSize || length == 0 || length > maxFileSize-e.start {
		return extent{}, corrupt("extent %v: %d bytes", k, length)
	}
	e.end = e.start + length
	if e.disk > maxAddress || e.diskSize > maxAddress || e.offset > maxAddress {
		return extent{}, corrupt("extent %v: %d bytes from %d at %d", k, e.diskSize, e.offset, e.disk)
	}
	if e.compression != compressNone && e.hasData() &&
		(e.diskSize > maxExtent || e.plainSize > maxExtent || e.offset > e.plainSize || length > e.plainSize-e.offset) {
		return extent{}, corrupt("extent %v: %d bytes of %d, compressed to %d", k, length, e.plainSize, e.diskSize)
	}
	return e, nil
}

// extents walks through the extents of a file, in order.
type extents struct {
	c     *cursor
	inode uint64
	begun bool   // the cursor is at the last one, not at the next
	past  uint64 // the end of the last one
}

// extentsFrom begins with the extent that holds the byte at off, or the first one behind it.
func (t *tree) extentsFrom(inode, off uint64) (*extents, error) {
	first := key{inode, kindExtentData, 0}
	c, err := t.floor(key{inode, kindExtentData, off})
	if err == nil && c.valid() && c.at.compare(first) < 0 {
		err = c.next()
	}
	return &extents{c: c, inode: inode}, err
}

// next returns the next extent. ok is false after the last one.
func (x *extents) next() (e extent, ok bool, err error) {
	// Not before it is needed: the leaf behind the last extent may be damaged.
	if x.begun {
		if err := x.c.next(); err != nil {
			return extent{}, false, err
		}
	}
	x.begun = true
	if !x.c.in(x.inode, kindExtentData) {
		return extent{}, false, nil
	}
	if e, err = parseExtent(x.c.at, x.c.item); err != nil {
		return e, false, err
	}
	if e.start < x.past {
		return e, false, corrupt("extent %v begins before %d, the end of the last one", x.c.at, x.past)
	}
	x.past = e.end
	return e, true, nil
}
