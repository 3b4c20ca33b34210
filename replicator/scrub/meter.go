package scrub

import (
	"syscall"

	"vmsync/internal/event"
	"vmsync/internal/store"
)

// meter tells how far the reading is: for each disk, in bytes that its images take on the
// host's disk.
type meter struct {
	out   event.Sink
	size  map[string]int64 // of images, bytes that they take
	total map[string]int64 // of disks
	done  map[string]int64 // of disks, images that are done
}

func (s *scrub) newMeter(needed map[string]bool) *meter {
	m := &meter{out: s.out, size: map[string]int64{}, total: map[string]int64{}, done: map[string]int64{}}
	for _, img := range s.manifest.Images {
		var st syscall.Stat_t
		if !needed[img.Name] || syscall.Stat(s.path(img.Name), &st) != nil {
			continue
		}
		m.size[img.Name] = st.Blocks * 512
		m.total[img.Disk] += st.Blocks * 512
	}
	return m
}

// read tells that so many bytes of an image's data were read.
func (m *meter) read(img store.Image, n int64) { m.tell(img, min(n, m.size[img.Name])) }

// finish tells that an image is done.
func (m *meter) finish(img store.Image) {
	m.done[img.Disk] += m.size[img.Name]
	m.tell(img, 0)
}

func (m *meter) tell(img store.Image, n int64) {
	m.out.Emit(event.Progress{Disk: img.Disk, Size: img.Size, Done: m.done[img.Disk] + n, Total: m.total[img.Disk]})
}
