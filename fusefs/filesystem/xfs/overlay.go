package xfs

import (
	"io"
	"slices"
	"sort"

	"vmsync/fusefs/device"
)

const (
	overlayPage = 4096
	// overlayLimit bounds the memory that a replayed log takes, in bytes. What a log
	// can change at most is about its own size; those of large filesystems have up to
	// 2 GiB, but are seldom full.
	overlayLimit = 256 << 20
)

// overlay is a device with changes that are kept in memory. It is written to by one
// goroutine, until freeze; then any number may read.
type overlay struct {
	device.Device
	pages  map[int64]*[overlayPage]byte
	sorted []int64
}

func newOverlay(d device.Device) *overlay {
	return &overlay{Device: d, pages: map[int64]*[overlayPage]byte{}}
}

// write changes bytes. They must lie within the device.
func (o *overlay) write(p []byte, off int64) error {
	for len(p) > 0 {
		number := off / overlayPage
		page, ok := o.pages[number]
		if !ok {
			if len(o.pages) >= overlayLimit/overlayPage {
				return needsReplay("it changes more than %d MiB", overlayLimit>>20)
			}
			page = new([overlayPage]byte)
			if _, err := o.Device.ReadAt(page[:], number*overlayPage); err != nil && err != io.EOF {
				return err
			}
			o.pages[number] = page
		}
		n := copy(page[off%overlayPage:], p)
		p, off = p[n:], off+int64(n)
	}
	return nil
}

// freeze ends the writing.
func (o *overlay) freeze() {
	o.sorted = make([]int64, 0, len(o.pages))
	for number := range o.pages {
		o.sorted = append(o.sorted, number)
	}
	slices.Sort(o.sorted)
}

// ReadAt implements device.Device.
func (o *overlay) ReadAt(p []byte, off int64) (int, error) {
	n, err := o.Device.ReadAt(p, off)
	if o.sorted == nil {
		for number := off / overlayPage; number*overlayPage < off+int64(n); number++ {
			o.patch(p[:n], off, number)
		}
		return n, err
	}
	i := sort.Search(len(o.sorted), func(i int) bool { return o.sorted[i] >= off/overlayPage })
	for ; i < len(o.sorted) && o.sorted[i]*overlayPage < off+int64(n); i++ {
		o.patch(p[:n], off, o.sorted[i])
	}
	return n, err
}

// patch puts a page over what was read at off.
func (o *overlay) patch(p []byte, off, number int64) {
	page, ok := o.pages[number]
	if !ok {
		return
	}
	if begin := number * overlayPage; begin >= off {
		copy(p[begin-off:], page[:])
	} else {
		copy(p, page[off-begin:])
	}
}

// Data implements device.Device. What the log holds is metadata, which may be where the
// device beneath has a hole.
func (o *overlay) Data(off int64) (int64, int64, error) { return min(off, o.Size()), o.Size(), nil }
