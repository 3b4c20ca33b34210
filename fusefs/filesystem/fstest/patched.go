package fstest

import (
	"bytes"
	"io"

	"vmsync/fusefs/device"
)

// A PatchedImage is an image in memory some of whose bytes are others, so that a fuzz test
// damages a shared image without a copy of it.
type PatchedImage struct {
	image []byte
	edits map[int64]byte
}

var _ device.Device = (*PatchedImage)(nil)

// Patched returns image without edits.
func Patched(image []byte) *PatchedImage {
	return &PatchedImage{image, map[int64]byte{}}
}

// Set changes one byte. It must not be called once the image is being read.
func (p *PatchedImage) Set(at int64, to byte) {
	if at >= 0 && at < int64(len(p.image)) {
		p.edits[at] = to
	}
}

// Size implements device.Device.
func (p *PatchedImage) Size() int64 { return int64(len(p.image)) }

// ReadAt implements device.Device.
func (p *PatchedImage) ReadAt(b []byte, off int64) (int, error) {
	if off < 0 {
		return 0, device.ErrOutOfRange
	}
	n, err := bytes.NewReader(p.image).ReadAt(b, off)
	for at, to := range p.edits {
		if at >= off && at < off+int64(n) {
			b[at-off] = to
		}
	}
	if n == len(b) && err == io.EOF {
		err = nil
	}
	return n, err
}

// Data implements device.Device.
func (p *PatchedImage) Data(off int64) (int64, int64, error) {
	return min(off, p.Size()), p.Size(), nil
}
