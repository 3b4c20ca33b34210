package fusefs

import (
	"time"

	"golang.org/x/sys/unix"

	"vmsync/fusefs/device"
	"vmsync/fusefs/filesystem"
)

// rawNode is a disk or a volume as a raw image.
type rawNode struct {
	place
	session *session
	image   string
}

func (r *rawNode) secret() bool { return true }

func (r *rawNode) attr() (filesystem.Attr, error) {
	o, err := r.session.hold()
	if err != nil {
		return filesystem.Attr{}, err
	}
	defer r.session.release()
	dev, err := o.raw(r.image)
	if err != nil {
		return filesystem.Attr{}, err
	}
	a := r.attributes(unix.S_IFREG, dev.Size())
	data, err := o.allocated(r.image, dev)
	a.Blocks = (data + 511) / 512
	return a, err
}

// allocated is how many bytes of a device hold data. It is found out once: of a large disk
// that means to read its tables.
func (o *opened) allocated(image string, dev device.Device) (int64, error) {
	o.dataMu.Lock()
	defer o.dataMu.Unlock()
	if sum, known := o.data[image]; known {
		return sum, nil
	}
	sum, err := dataBytes(dev, time.Now().Add(tellFor))
	if err != nil {
		return 0, err
	}
	if o.data == nil {
		o.data = map[string]int64{}
	}
	o.data[image] = sum
	return sum, nil
}

// dataBytes adds up how many bytes are data. What has not been looked at in time counts as data.
func dataBytes(dev device.Device, until time.Time) (sum int64, err error) {
	for off := int64(0); off < dev.Size(); {
		if time.Now().After(until) {
			return sum + dev.Size() - off, nil
		}
		start, end, err := dev.Data(off)
		if err != nil {
			return 0, err
		}
		if end <= off {
			break
		}
		sum += end - start
		off = end
	}
	return sum, nil
}

// open returns the device. Whoever has it open keeps the session open.
func (r *rawNode) open() (content, error) {
	o, err := r.session.hold()
	if err != nil {
		return nil, err
	}
	defer r.session.release()
	dev, err := o.raw(r.image)
	if err != nil {
		return nil, err
	}
	return r.session.counted(dev), nil
}
