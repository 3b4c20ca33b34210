// Package image reads the disk of a stored state: a qcow2 image and the chain of images
// that it lies over, of versions 2 and 3, as qemu's docs/interop/qcow2.txt specifies them.
// Section names in comments are of that document.
//
// An Image resolves its chain once per part of the disk: which of the files holds which
// range, and where. That mapping is cached, so a read costs no more with 64 images than
// with one: it finds the ranges, and reads each with one pread straight into the caller's
// buffer. A reader that asks each image's tables in turn takes hundreds of times as long
// for a random read in a long chain over a large disk. Data is not cached, the kernel does
// that; clusters that had to be decompressed are.
//
// What an image reads as must not change while it is open. Merging a chain's lower files
// is no such change, whether they are written to, renamed or deleted: an open image holds
// its files, and what it reads from one of them stays the same.
//
// The package must never write, never open a file outside of the image's folder, and never
// take a backing file's format from its content, which a guest wrote. Damage is an error of
// the ranges that it lies in, and the rest can be read.
package image

import "errors"

// Errors that callers decide on. Others are those of opening and reading files.
var (
	// ErrCorrupt: the image contradicts its format.
	ErrCorrupt = errors.New("damaged image")
	// ErrUnsupported: the image uses a feature that this reader does not know, or must
	// not follow.
	ErrUnsupported = errors.New("unsupported image")
	// ErrChanged: an image of the chain was written to while it was opened.
	ErrChanged = errors.New("the image changed while it was opened")
)
