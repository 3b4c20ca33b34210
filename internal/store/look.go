package store

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// Read reads a replica's manifest without its lock: the manifest is only ever replaced
// as a whole. What it says may be out of date as soon as it is known, and files that it
// names may go. A store without such a replica gives an error for which
// errors.Is(err, fs.ErrNotExist) holds.
func Read(storeDir, domain string) (*Manifest, error) {
	if err := CheckDomainName(domain); err != nil {
		return nil, err
	}
	return (&Folder{dir: filepath.Join(storeDir, domain)}).Load()
}

// Replicas names the replicas in a store, sorted. A store that is not there has none.
func Replicas(storeDir string) ([]string, error) {
	entries, err := os.ReadDir(storeDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if CheckDomainName(e.Name()) != nil {
			continue
		}
		if _, err := os.Stat(filepath.Join(storeDir, e.Name(), ManifestName)); err == nil {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// LockExisting is [Lock] for a replica that there is: it makes no folder. A store
// without such a replica gives an error for which errors.Is(err, fs.ErrNotExist) holds.
func LockExisting(storeDir, domain string) (*Folder, error) {
	if err := CheckDomainName(domain); err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(storeDir, domain, ManifestName)); err != nil {
		return nil, err
	}
	return Lock(storeDir, domain)
}

// Unlocked is a replica's folder for somebody who only looks at it. Of its methods only
// those that change nothing may be called, and what they tell may be out of date.
// Unlock must not be called.
func Unlocked(storeDir, domain string) (*Folder, error) {
	if err := CheckDomainName(domain); err != nil {
		return nil, err
	}
	return &Folder{dir: filepath.Join(storeDir, domain)}, nil
}

// Holders says who holds which states of a replica, for people: unlike
// [Folder.WithPins] it removes nothing. It waits for those who pin or unlist at the same
// moment, as long as ctx lasts.
func (f *Folder) Holders(ctx context.Context) (Held, error) {
	if _, err := os.Stat(f.Path(pinsDir)); errors.Is(err, fs.ErrNotExist) {
		return Held{}, nil
	}
	var held Held
	err := f.holdPins(ctx, func() (err error) {
		held, err = f.livePins(false)
		return err
	})
	return held, err
}

// InUse tells whether somebody holds the folder's lock at this moment.
func (f *Folder) InUse() (bool, error) {
	file, err := os.Open(f.Path(lockFile))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer file.Close()
	// A shared lock, and for no longer than it takes: who wants the lock tries for a while.
	err = unix.Flock(int(file.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return true, nil
	}
	return false, err
}

// Allocated is how many bytes on disk the files of these names take; those that are
// not there take none.
func (f *Folder) Allocated(names ...string) (int64, error) {
	var sum int64
	for _, name := range names {
		var st unix.Stat_t
		err := unix.Stat(f.Path(name), &st)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return 0, &os.PathError{Op: "stat", Path: f.Path(name), Err: err}
		}
		if err == nil {
			sum += st.Blocks * 512
		}
	}
	return sum, nil
}

// Images names the images and block indexes in the folder, the manifest's and debris.
func (f *Folder) Images() ([]string, error) {
	images, err := f.list(imagesDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	indexes, err := f.list(indexDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return slices.Concat(images, indexes), nil
}
