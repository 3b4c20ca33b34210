package store

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"

	"golang.org/x/sys/unix"

	"vmsync/internal/passable"
)

const (
	// ManifestName is the name of the manifest in a replica's folder.
	ManifestName = "manifest.json"
	lockFile     = "lock"
)

// ErrBusy means that another process holds the lock of a replica's folder.
var ErrBusy = errors.New("another run holds the replica")

// Folder is a replica's folder, locked for this process. Its methods are for
// one goroutine at a time.
type Folder struct {
	dir  string
	lock *os.File
}

// Lock opens the folder of a target domain in a store, making it where it does
// not exist yet, and takes its lock. A lock that is held gives [ErrBusy]. The
// lock dies with the process.
func Lock(storeDir, domain string) (*Folder, error) {
	if err := CheckDomainName(domain); err != nil {
		return nil, err
	}
	dir := filepath.Join(storeDir, domain)
	for _, d := range []string{storeDir, dir} {
		if err := makeDir(d); err != nil {
			return nil, err
		}
	}
	f, err := takeLock(dir)
	if err != nil {
		return nil, err
	}
	folder := &Folder{dir: dir, lock: f}
	for _, d := range append(folders(), ".") {
		err := makeDir(filepath.Join(dir, d))
		if err == nil {
			err = passable.Ensure(filepath.Join(dir, d)) // or the replica could not be started
		}
		if err != nil {
			folder.Unlock()
			return nil, err
		}
	}
	return folder, nil
}

// takeLock takes the lock of a folder that exists.
func takeLock(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE|unix.O_CLOEXEC, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w %s: it was just removed", ErrBusy, dir)
	}
	if err != nil {
		return nil, err
	}
	if err := hold(f); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// hold locks an open lock file.
func hold(f *os.File) error {
	dir := filepath.Dir(f.Name())
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			return fmt.Errorf("%w %s", ErrBusy, dir)
		}
		return fmt.Errorf("lock %s: %w", dir, err)
	}
	// [Folder.Abandon] may have removed the file since it was opened: then this lock
	// keeps nobody out.
	mine, err := f.Stat()
	if err != nil {
		return err
	}
	there, err := os.Stat(f.Name())
	if errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(mine, there) {
		return fmt.Errorf("%w %s: it was just removed", ErrBusy, dir)
	}
	return err
}

// makeDir makes a folder that qemu's user can pass through but not list, and
// makes its name durable.
func makeDir(dir string) error {
	if made, err := passable.MkdirAll(dir); err != nil || !made {
		return err
	}
	return syncDir(filepath.Dir(dir))
}

// Unlock releases the folder.
func (f *Folder) Unlock() error { return f.lock.Close() }

// Abandon removes what [Lock] and [Folder.Create] made of a folder that holds no
// state and never will, and releases it. What else is in it stays, and the folder
// with it.
func (f *Folder) Abandon() error {
	errs := []error{f.Remove(ManifestName)}
	empty := f.dropPins() == nil
	for _, d := range folders() {
		if err := os.Remove(f.Path(d)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			empty = false
		}
	}
	if empty {
		// Last, and while it is held: who comes now finds a folder without a lock, and
		// makes both anew.
		errs = append(errs, f.Remove(lockFile))
		_ = os.Remove(f.dir) // fails if somebody else's files are in it
	}
	return errors.Join(append(errs, f.Unlock())...)
}

// Dir is the folder's absolute path.
func (f *Folder) Dir() string { return f.dir }

// Path gives the absolute path of a file that the manifest names.
func (f *Folder) Path(name string) string { return filepath.Join(f.dir, filepath.FromSlash(name)) }

// Load reads the manifest. A folder that has none gives an error for which
// errors.Is(err, fs.ErrNotExist) holds.
func (f *Folder) Load() (*Manifest, error) {
	file, err := os.Open(f.Path(ManifestName))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	m, err := decodeManifest(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file.Name(), err)
	}
	return m, nil
}

// Create makes the manifest of an empty folder, with a fresh pair id, and
// saves it. A folder that holds images but no manifest is refused: something
// took the manifest away, and the images must not be taken for debris.
func (f *Folder) Create(targetDomain string) (*Manifest, error) {
	images, err := f.list(imagesDir)
	if err != nil {
		return nil, err
	}
	if len(images) > 0 {
		return nil, fmt.Errorf("%s holds images but no manifest: move the folder away or restore its %s", f.dir, ManifestName)
	}
	var id [4]byte
	if _, err := rand.Read(id[:]); err != nil {
		return nil, err
	}
	m := &Manifest{Version: Version, Pair: hex.EncodeToString(id[:]), TargetDomain: targetDomain, Role: RoleReplica}
	return m, f.Save(m)
}

// Save replaces the manifest atomically and durably. The files it names must
// be durable already.
func (f *Folder) Save(m *Manifest) error {
	b, err := m.encode()
	if err != nil {
		return fmt.Errorf("manifest of %s: %w", f.dir, err)
	}
	return f.WriteFile(ManifestName, b)
}

// WriteFile writes a small file atomically and durably, mode 0600.
func (f *Folder) WriteFile(name string, content []byte) error {
	dest := f.Path(name)
	tmp, err := os.CreateTemp(filepath.Dir(dest), ".vmsync-tmp-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // fails once it has been renamed
	_, err = tmp.Write(content)
	if err == nil {
		err = tmp.Sync()
	}
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp.Name(), dest)
	}
	if err != nil {
		return err
	}
	return syncDir(filepath.Dir(dest))
}

// SyncFiles makes files that other programs wrote durable, and their names.
func (f *Folder) SyncFiles(names ...string) error {
	dirs := map[string]bool{}
	for _, name := range names {
		if err := syncPath(f.Path(name)); err != nil {
			return err
		}
		dirs[filepath.Dir(f.Path(name))] = true
	}
	for d := range dirs {
		if err := syncDir(d); err != nil {
			return err
		}
	}
	return nil
}

// Debris lists the files that runs of vmsync left in the folder and that the
// manifest does not name, sorted.
func (f *Folder) Debris(m *Manifest) ([]string, error) {
	named := m.Files()
	var debris []string
	for _, dir := range append([]string{"."}, folders()...) {
		names, err := f.list(dir)
		if err != nil {
			return nil, err
		}
		for _, n := range names {
			if !named[n] && ours.MatchString(n) {
				debris = append(debris, n)
			}
		}
	}
	sort.Strings(debris)
	return debris, nil
}

// Remove deletes files of the folder. One that is gone already is no error.
func (f *Folder) Remove(names ...string) error {
	for _, n := range names {
		if err := os.Remove(f.Path(n)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// list names the regular files of a sub-folder, relative to the folder.
func (f *Folder) list(dir string) ([]string, error) {
	entries, err := os.ReadDir(f.Path(dir))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.Type().IsRegular() {
			names = append(names, filepath.ToSlash(filepath.Join(dir, e.Name())))
		}
	}
	return names, nil
}

func syncDir(dir string) error { return syncPath(dir) }

func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	err = f.Sync()
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("sync %s: %w", path, err)
	}
	return nil
}
