package xfs

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"vmsync/fusefs/filesystem/fstest"
)

func TestReplaysWhatTheKernelReplays(t *testing.T) {
	allowSmall(t)
	rounds := []int{0}
	if n, err := strconv.Atoi(os.Getenv("XFS_REPLAY_SEEDS")); err == nil {
		rounds = nil
		for i := range n {
			rounds = append(rounds, i+100)
		}
	}
	for name, mkfs := range map[string][]string{
		"default":            nil,
		"blocks of 1024":     {"-b", "size=1024"},
		"directories of 64k": {"-n", "size=65536"},
		"log units of 256k":  {"-l", "su=262144"},
		"owners of blocks":   {"-m", "rmapbt=1", "-d", "agcount=2"},
		"large counts":       {"-i", "nrext64=1,size=1024"},
	} {
		for _, seed := range rounds {
			t.Run(fmt.Sprintf("%s, %d", name, seed), func(t *testing.T) {
				image := crashed(t, uint64(seed), mkfs...)
				compareReplayed(t, image)
			})
		}
	}
}

// TestLogGoesRound crashes when the changes to be replayed go over the end of the log.
func TestLogGoesRound(t *testing.T) {
	allowSmall(t)
	image := fstest.Make(t, 128<<20, "mkfs.xfs", "-q", "-m", "reflink=0", "-l", "size=3600k")
	dir := fstest.Mount(t, image, "nodev")
	w := &work{t: t, root: dir, rand: rand.New(rand.NewPCG(5, 5))}
	j := openLog(t, image)
	for range 200 {
		if cycle, err := j.cycle(0); err != nil || cycle > 1 {
			break
		}
		w.run(60)
		w.flush()
	}
	w.run(20)
	fstest.Run(t, "xfs_io", "-x", "-c", "shutdown -f", dir)
	fstest.Unmount(t, dir)
	records, err := j.dirty()
	must(t, err)
	if len(records) == 0 || records[0] <= records[len(records)-1] {
		t.Errorf("%d records, which do not go round", len(records))
	}
	compareReplayed(t, image)
}

// openLog opens the log of an image.
func openLog(t *testing.T, image string) *journal {
	t.Helper()
	d := fstest.Open(t, image)
	sb, err := readSuperblock(d)
	must(t, err)
	j, err := openJournal(d, sb)
	must(t, err)
	return j
}

// compareReplayed holds what is replayed in memory against what the kernel replays.
func compareReplayed(t *testing.T, image string) {
	t.Helper()
	fsys := mustOpen(t, image)
	if !fsys.Info().Replayed {
		t.Error("the log was not replayed")
	}
	replayed := fstest.Copy(t, image)
	fstest.Unmount(t, fstest.Mount(t, replayed, "nouuid"))
	dir := fstest.Mount(t, replayed, "ro,nouuid")
	fstest.Compare(t, fsys, dir, fstest.Ignore{})
}

// TestCopiesOfMountedFilesystems reads what a backup copies of a guest that goes on.
func TestCopiesOfMountedFilesystems(t *testing.T) {
	allowSmall(t)
	for name, hold := range map[string]func(dir string) (release func()){
		"synced": func(dir string) func() {
			unix.Sync()
			return func() {}
		},
		"frozen": func(dir string) func() {
			fstest.Run(t, "fsfreeze", "-f", dir)
			return func() { fstest.Run(t, "fsfreeze", "-u", dir) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			image := fstest.Make(t, 256<<20, "mkfs.xfs", "-q")
			dir := fstest.Mount(t, image, "nodev")
			w := &work{t: t, root: dir, rand: rand.New(rand.NewPCG(3, 3))}
			for range 2 {
				w.run(150)
				release := hold(dir)
				copied := fstest.Copy(t, image)
				release()
				compareReplayed(t, copied)
			}
		})
	}
}

// TestLastRecordsTorn damages the end of the log, as a power cut does while records are written.
func TestLastRecordsTorn(t *testing.T) {
	allowSmall(t)
	for seed := range uint64(1) {
		image := crashed(t, 40+seed, "-d", "size=256m")
		for name, damage := range map[string]func(j *journal, file *os.File, last *record){
			"a byte of the last record": func(j *journal, file *os.File, last *record) {
				at := j.start + int64(j.wrap(last.block+last.total()-1))*basicBlock + 100
				_, err := file.WriteAt([]byte{0xa5}, at)
				must(t, err)
			},
			"the last record's header": func(j *journal, file *os.File, last *record) {
				_, err := file.WriteAt(make([]byte, 16), j.start+int64(last.block)*basicBlock+60)
				must(t, err)
			},
			"the end of the last record": func(j *journal, file *os.File, last *record) {
				sector := make([]byte, basicBlock)
				be.PutUint32(sector, last.cycle-1)
				_, err := file.WriteAt(sector, j.start+int64(j.wrap(last.block+last.total()-1))*basicBlock)
				must(t, err)
			},
		} {
			t.Run(fmt.Sprintf("%s, %d", name, seed), func(t *testing.T) {
				torn := fstest.Copy(t, image)
				j := openLog(t, torn)
				records, err := j.dirty()
				must(t, err)
				file, err := os.OpenFile(torn, os.O_WRONLY, 0)
				must(t, err)
				last, err := j.record(records[len(records)-1])
				must(t, err)
				damage(j, file, last)
				must(t, file.Close())
				compareReplayed(t, torn)
			})
		}
	}
}

// allowSmall has mkfs.xfs make filesystems of less than 300 MiB, with small logs.
func allowSmall(t testing.TB) {
	t.Helper()
	for _, name := range []string{"TEST_DIR", "TEST_DEV", "QA_CHECK_FS"} {
		t.Setenv(name, "1")
	}
}

// crashed makes an image of a filesystem that came to an abrupt end while it was worked on.
func crashed(t testing.TB, seed uint64, mkfs ...string) string {
	t.Helper()
	image := fstest.Make(t, imageSize, append([]string{"mkfs.xfs", "-q"}, mkfs...)...)
	random := rand.New(rand.NewPCG(seed, 7))
	for range 1 + random.IntN(3) {
		// The work opens what it finds, which may be any device.
		dir := fstest.Mount(t, image, "nodev"+[]string{"", ",logbsize=256k"}[random.IntN(2)])
		w := &work{t: t, root: dir, rand: random}
		w.run(100 + random.IntN(800))
		if random.IntN(4) == 0 {
			unix.Sync()
			w.run(random.IntN(300))
		}
		// With -f, what is only in memory is written to the log first.
		how := []string{"shutdown -f", "shutdown"}[random.IntN(2)]
		if how == "shutdown" {
			w.flush()
			w.run(random.IntN(100))
		}
		fstest.Run(t, "xfs_io", "-x", "-c", how, dir)
		fstest.Unmount(t, dir)
	}
	return image
}

// work changes a filesystem at random.
type work struct {
	t    testing.TB
	root string
	rand *rand.Rand
}

func (w *work) path() string {
	return filepath.Join(w.root, fmt.Sprintf("d%d", w.rand.IntN(4)), fmt.Sprintf("name-%d", w.rand.IntN(300)))
}

func (w *work) flush() {
	w.t.Helper()
	fd, err := unix.Open(w.root, unix.O_RDONLY, 0)
	must(w.t, err)
	defer unix.Close(fd)
	must(w.t, unix.Syncfs(fd))
}

func (w *work) run(steps int) {
	w.t.Helper()
	for i := range 4 {
		os.Mkdir(filepath.Join(w.root, fmt.Sprintf("d%d", i)), 0o755)
	}
	for range steps {
		err := w.step()
		if err != nil && !expected(err) {
			w.t.Fatal(err)
		}
	}
}

// expected says whether an error comes of the file's being of another kind, or not there.
func expected(err error) bool {
	for _, e := range []error{unix.ENOENT, unix.EEXIST, unix.ENOTDIR, unix.EISDIR, unix.ENOTEMPTY, unix.EPERM, unix.EINVAL,
		unix.ENODATA, unix.ELOOP, unix.ENXIO, unix.ENAMETOOLONG, unix.EACCES, unix.EOPNOTSUPP, unix.EBADF} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func (w *work) step() error {
	path, other := w.path(), w.path()
	switch w.rand.IntN(20) {
	case 0, 1, 2, 3:
		return os.WriteFile(path, w.content(), 0o644)
	case 4, 5:
		return w.overwrite(path)
	case 6:
		return os.Rename(path, other)
	case 7:
		return os.Remove(path)
	case 8:
		return os.Truncate(path, w.rand.Int64N(200000))
	case 9:
		return os.Symlink(fmt.Sprintf("%0*d", 1+w.rand.IntN(900), 7), path)
	case 10:
		return os.Mkdir(path, 0o700)
	case 11:
		return os.Link(path, other)
	case 12, 13:
		size := []int{0, 10, 100, 1000, 5000, 60000}[w.rand.IntN(6)]
		return unix.Lsetxattr(path, fmt.Sprintf("user.a%d", w.rand.IntN(12)), make([]byte, size), 0)
	case 14:
		return unix.Lremovexattr(path, fmt.Sprintf("user.a%d", w.rand.IntN(12)))
	case 15:
		return os.Chown(path, w.rand.IntN(1<<20), w.rand.IntN(1<<20))
	case 16:
		return unix.Mknod(path, unix.S_IFCHR|0o600, int(unix.Mkdev(uint32(w.rand.IntN(300)), uint32(w.rand.IntN(300)))))
	case 17:
		return w.clone(path, other)
	case 18:
		return w.many(path)
	default:
		return w.punch(path)
	}
}

func (w *work) content() []byte {
	b := make([]byte, []int{0, 100, 5000, 70000, 300000}[w.rand.IntN(5)])
	mark := byte(w.rand.Uint32())
	for i := range b {
		b[i] = mark + byte(i>>8)
	}
	return b
}

func (w *work) overwrite(path string) error {
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err = file.WriteAt(w.content(), w.rand.Int64N(400000)); err == nil && w.rand.IntN(10) == 0 {
		err = file.Sync()
	}
	return err
}

func (w *work) clone(path, other string) error {
	from, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.OpenFile(other, os.O_WRONLY|os.O_CREATE|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return err
	}
	defer to.Close()
	if err := unix.IoctlFileClone(int(to.Fd()), int(from.Fd())); err != nil {
		return err
	}
	return w.overwrite(other)
}

// many makes a directory of many files, or removes one.
func (w *work) many(path string) error {
	if w.rand.IntN(3) == 0 {
		return os.RemoveAll(path)
	}
	if err := os.Mkdir(path, 0o755); err != nil {
		return err
	}
	for i := range w.rand.IntN(200) {
		if err := os.WriteFile(filepath.Join(path, fmt.Sprintf("a file of many %d", i)), nil, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (w *work) punch(path string) error {
	file, err := os.OpenFile(path, os.O_WRONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	mode := []uint32{0, unix.FALLOC_FL_KEEP_SIZE, unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE,
		unix.FALLOC_FL_ZERO_RANGE, unix.FALLOC_FL_COLLAPSE_RANGE}[w.rand.IntN(5)]
	return unix.Fallocate(int(file.Fd()), mode, w.rand.Int64N(40)*4096, (1+w.rand.Int64N(20))*4096)
}
