package fusefs

import (
	"errors"
	"io/fs"
	"time"

	"vmsync/fusefs/device"
	"vmsync/fusefs/image"
)

// openImages opens the images of states; all share one cache.
type openImages struct{ cache *image.Cache }

// A merge can move an image's file while its chain is being opened; the next attempt
// finds the new one.
const (
	openAttempts = 5
	openPause    = 20 * time.Millisecond
)

func (o openImages) openDisk(path string) (device.Device, func() error, error) {
	for attempt := 1; ; attempt++ {
		img, err := image.Open(path, o.cache)
		if err == nil {
			return img, img.Close, nil
		}
		if attempt == openAttempts || !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, image.ErrChanged) {
			return nil, nil, err
		}
		time.Sleep(openPause)
	}
}
