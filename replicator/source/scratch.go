package source

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"vmsync/internal/libvirt"
	"vmsync/replicator"
)

// While a backup runs, qemu puts the old content of what the guest overwrites into
// scratch files. When it cannot, it stops the guest. So the room for them is watched,
// and the job ended while there is still some: a run that fails can be done again.

const (
	// minFree is the least free space that the file system of scratch files keeps.
	minFree = 64 << 20
	// freeShare is the part of a file system that is to stay free, up to maxShare: a
	// large one is full long before its last gigabytes are gone, and not full before.
	freeShare = 50 // one in fifty: 2 %
	maxShare  = 2 << 30
	// paceWindow is how far back the writing is looked at, and paceFactor how many
	// times what was written in it must still fit.
	paceWindow = 2 * time.Second
	paceFactor = 3
)

// scratchFile is where a disk's old blocks go while the guest overwrites them.
type scratchFile struct {
	disk string
	path string
	size int64 // bytes it may grow to: the disk's size
	used int64 // bytes it takes, when last looked
}

// room is one file system with scratch files, and what is known of it.
type room struct {
	dir     string // of one of them
	files   []scratchFile
	samples []sample // those within paceWindow, oldest first; the last is the newest
}

// sample is what a file system had at a moment, in bytes.
type sample struct {
	at          time.Time
	free, total int64
	used        int64 // by the scratch files
}

// roomsOf groups scratch files by the file systems that they lie on, which may be
// fewer than the folders.
func roomsOf(files []scratchFile) ([]*room, error) {
	var rooms []*room
	byDevice := make(map[uint64]*room)
	for _, f := range files {
		dir := filepath.Dir(f.path)
		var st unix.Stat_t
		if err := unix.Stat(dir, &st); err != nil {
			return nil, fmt.Errorf("look for the folder of scratch files: %w", &os.PathError{Op: "stat", Path: dir, Err: err})
		}
		r := byDevice[st.Dev]
		if r == nil {
			r = &room{dir: dir}
			byDevice[st.Dev] = r
			rooms = append(rooms, r)
		}
		r.files = append(r.files, f)
	}
	return rooms, nil
}

// measure adds a sample of now.
func (r *room) measure(now time.Time) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(r.dir, &fs); err != nil {
		return fmt.Errorf("free space of %s: %w", r.dir, err)
	}
	s := sample{at: now, free: int64(fs.Bavail) * fs.Bsize, total: int64(fs.Blocks) * fs.Bsize}
	for i := range r.files {
		var st unix.Stat_t
		// One that is not there, because the job has not made it or has ended, takes
		// nothing.
		r.files[i].used = 0
		if unix.Stat(r.files[i].path, &st) == nil {
			r.files[i].used = st.Blocks * 512
		}
		s.used += r.files[i].used
	}
	r.add(s)
	return nil
}

func (r *room) add(s sample) {
	r.samples = append(r.samples, s)
	r.samples = slices.DeleteFunc(r.samples, func(old sample) bool { return s.at.Sub(old.at) > paceWindow })
}

func (r *room) last() sample { return r.samples[len(r.samples)-1] }

// pace is how many bytes were written within paceWindow, by whoever it was.
func (r *room) pace() int64 {
	first, last := r.samples[0], r.last()
	return max(0, first.free-last.free, last.used-first.used)
}

// most is how many bytes the scratch files can take in all.
func (r *room) most() int64 {
	var sum int64
	for _, f := range r.files {
		sum += f.size
	}
	return sum
}

// reserve is how much must be free, in bytes: time to end the job before qemu runs
// out of room and stops the guest.
func (r *room) reserve() int64 {
	last := r.last()
	wanted := max(min(last.total/freeShare, maxShare), paceFactor*r.pace())
	return max(minFree, min(wanted, r.most()-last.used))
}

func (r *room) low() bool { return r.last().free < r.reserve() }

// needed estimates how many bytes the scratch files will take until the copy is
// done, of which a part is: by the pace of now, and no less than they take already.
func (r *room) needed(done float64) int64 {
	used := r.last().used
	if done <= 0 {
		return used
	}
	return max(used, min(r.most(), int64(float64(used)/min(done, 1))))
}

// full is the error of a run that cannot begin or go on for want of room. done is the
// part of the copy that is done, 0 if unknown.
func (e *End) scratchFull(r *room, done float64) error {
	biggest := slices.MaxFunc(r.files, func(a, b scratchFile) int {
		if a.used != b.used {
			return int(min(1, max(-1, a.used-b.used)))
		}
		return int(min(1, max(-1, a.size-b.size)))
	})
	last := r.last()
	text := fmt.Sprintf("%s are free on the file system at %s, the least is %s; ", mib(last.free), mountPoint(r.dir), mib(r.reserve()))
	if last.used == 0 {
		text += fmt.Sprintf("the scratch files there may take up to %s", mib(r.most()))
	} else {
		text += fmt.Sprintf("the scratch files there (%s: %s) take %s after %.0f %% of the copy, and at this pace at least %s at its end",
			biggest.disk, biggest.path, mib(last.used), 100*done, mib(max(r.needed(done), last.used+1)))
	}
	return &replicator.Error{Kind: replicator.KindScratchFull, Domain: e.dom.Name, Disk: biggest.disk, Op: "keep what the guest overwrites during the copy",
		Hint: "free some space there, sync more often so that there is less to copy, or move the disk's image to where there is more room",
		Err:  errors.New(text)}
}

// mountPoint is the folder where the file system of dir begins.
func mountPoint(dir string) string {
	var st, above unix.Stat_t
	if unix.Stat(dir, &st) != nil {
		return dir
	}
	for dir != "/" {
		parent := filepath.Dir(dir)
		if unix.Stat(parent, &above) != nil || above.Dev != st.Dev {
			break
		}
		dir = parent
	}
	return dir
}

func (e *End) scratchFiles(b libvirt.Backup) []scratchFile {
	var files []scratchFile
	for _, d := range b.Disks {
		if !d.Excluded {
			files = append(files, scratchFile{disk: d.Name, path: d.Scratch, size: e.disks[d.Name].Size})
		}
	}
	return files
}

// checkScratch finds the file systems of scratch files, and fails when one of them is
// nearly full.
func (e *End) checkScratch(files []scratchFile) ([]*room, error) {
	const op = "look for room for scratch files"
	rooms, err := roomsOf(files)
	if err != nil {
		return nil, e.fail("", op, "", err)
	}
	for _, r := range rooms {
		if err := r.measure(time.Now()); err != nil {
			return nil, e.fail("", op, "", err)
		}
		if r.low() {
			return nil, e.scratchFull(r, 0)
		}
	}
	return rooms, nil
}

func mib(bytes int64) string { return fmt.Sprintf("%d MiB", (bytes+1<<20-1)>>20) }
