// Package blockindex keeps a hash of every 64 KiB block of a disk image, in a
// sparse file beside the image. docs/INDEX.md specifies the file.
//
// A [File] holds the blocks of one image. What it lacks the image's backing file
// has, and with it the backing file's index: a [Chain] is the indexes of an image and
// of all that it is built on, and reads as the whole disk. A [Digest] names the
// content of a disk in 128 bits and follows a change without looking at the rest.
//
// Files are read and written with system calls and never mapped: a full file system,
// a broken disk or a file that somebody cuts short is an error here, where a mapping
// would end the process. Memory is bounded whatever a file claims. The package knows no
// images and no disks, and must not.
package blockindex

import "errors"

const (
	// BlockSize is the unit of hashing, in bytes. Block i of a disk is its bytes from
	// i*BlockSize; the last block ends where the disk does.
	BlockSize = 64 << 10
	// MaxSize is the largest disk, in bytes.
	MaxSize = 1 << 50
)

var (
	// ErrFormat means that a file is no index, or a damaged one. It can be made again
	// from the image.
	ErrFormat = errors.New("not a valid block index")
	// ErrVersion means that a file is an index of a version that this program does
	// not know.
	ErrVersion = errors.New("block index of an unknown version")
)

// Entry is one block of an image or of a disk.
type Entry struct {
	Block int64
	Hash  Hash
}

// Blocks is the number of blocks of a disk of size bytes.
func Blocks(size int64) int64 { return (size + BlockSize - 1) / BlockSize }
