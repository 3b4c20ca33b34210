package source

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// Sizes and numbers of qcow2, from qemu's docs/interop/qcow2.txt. The bounds on what
// is read are qemu's own, or stricter.
const (
	qcow2HeaderV3     = 104        // bytes that a header of version 3 has at least
	bitmapsExtension  = 0x23852875 // type of the header extension
	bitmapsData       = 24         // its bytes
	directoryEntry    = 24         // bytes of an entry without extra data and name
	maxHeaderLength   = 64 << 10   // the header lies in one cluster
	maxBitmaps        = 65535
	maxBitmapName     = 1023
	maxDirectory      = 4 << 20 // bytes of the directory that are read
	maxExtraData      = 1 << 10
	extensionsEnd     = 0
	bitmapsAutoclear  = 1 << 0 // of autoclear_features: the extension is to be believed
	offAutoclear      = 88
	offHeaderLength   = 100
	offExtraDataSize  = 20
	offEntryNameBytes = 18
)

// storedBitmaps returns the names of the bitmaps that a qcow2 image holds. While a
// domain runs these are the ones that the image held when it was opened, less those
// that were deleted: new ones are in qemu's memory only. An image without any, or
// that is no qcow2 of version 3, has none.
func storedBitmaps(path string) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parseBitmaps(f)
}

// parseBitmaps reads the names in an image's directory of bitmaps.
func parseBitmaps(r io.ReaderAt) ([]string, error) {
	head := make([]byte, qcow2HeaderV3)
	if _, err := r.ReadAt(head, 0); errors.Is(err, io.EOF) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	length := binary.BigEndian.Uint32(head[offHeaderLength:])
	if string(head[:4]) != "QFI\xfb" || binary.BigEndian.Uint32(head[4:]) < 3 ||
		binary.BigEndian.Uint64(head[offAutoclear:])&bitmapsAutoclear == 0 {
		return nil, nil
	}
	for at := int64(length); at < maxHeaderLength; {
		var ext [8]byte
		if _, err := r.ReadAt(ext[:], at); err != nil {
			return nil, fmt.Errorf("read a header extension: %w", err)
		}
		size := int64(binary.BigEndian.Uint32(ext[4:]))
		switch binary.BigEndian.Uint32(ext[:4]) {
		case extensionsEnd:
			return nil, nil
		case bitmapsExtension:
			if size != bitmapsData {
				return nil, fmt.Errorf("the bitmaps extension has %d bytes", size)
			}
			var data [bitmapsData]byte
			if _, err := r.ReadAt(data[:], at+8); err != nil {
				return nil, fmt.Errorf("read the bitmaps extension: %w", err)
			}
			return parseDirectory(r, data)
		}
		at += 8 + (size+7)/8*8
	}
	return nil, errors.New("the header has no end")
}

func parseDirectory(r io.ReaderAt, extension [bitmapsData]byte) ([]string, error) {
	count := binary.BigEndian.Uint32(extension[:])
	size := binary.BigEndian.Uint64(extension[8:])
	offset := binary.BigEndian.Uint64(extension[16:])
	if count > maxBitmaps || size > maxDirectory || offset > 1<<62 {
		return nil, fmt.Errorf("a directory of %d bitmaps in %d bytes", count, size)
	}
	directory := make([]byte, size)
	if _, err := r.ReadAt(directory, int64(offset)); err != nil {
		return nil, fmt.Errorf("read the directory of bitmaps: %w", err)
	}
	var names []string
	for range count {
		if len(directory) < directoryEntry {
			return nil, errors.New("the directory of bitmaps is cut off")
		}
		nameLength := int(binary.BigEndian.Uint16(directory[offEntryNameBytes:]))
		extra := int64(binary.BigEndian.Uint32(directory[offExtraDataSize:]))
		if nameLength > maxBitmapName || extra > maxExtraData {
			return nil, fmt.Errorf("a bitmap with a name of %d and other data of %d bytes", nameLength, extra)
		}
		name := directoryEntry + int(extra)
		end := name + nameLength
		if len(directory) < end {
			return nil, errors.New("the directory of bitmaps is cut off")
		}
		names = append(names, string(directory[name:end]))
		directory = directory[min(len(directory), (end+7)/8*8):]
	}
	return names, nil
}
