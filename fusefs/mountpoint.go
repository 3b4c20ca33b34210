package fusefs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// prepare checks that something can be mounted at a path, and returns the path without
// symbolic links. What a vmsync that was killed left mounted there it unmounts.
func prepare(mountpoint, store string, tell func(string)) (string, error) {
	path, err := resolve(mountpoint)
	if err != nil {
		return "", err
	}
	if real, err := filepath.EvalSymlinks(store); err == nil {
		store = real
	}
	if path == store || strings.HasPrefix(path, store+"/") {
		return "", fmt.Errorf("mount point %s lies in the store %s", path, store)
	}
	// One that is not there yet, for otherwise the folder is not empty. Looking for it would then
	// wait for itself.
	if strings.HasPrefix(store, strings.TrimSuffix(path, "/")+"/") {
		return "", fmt.Errorf("the store %s would lie in the mount point %s", store, path)
	}
	if dead(path) {
		if err := clearStale(path); err != nil {
			return "", err
		}
		tell(fmt.Sprintf("%s was left mounted by a vmsync that was killed; unmounted it", path))
	}
	at, err := mountedAt(path)
	if err != nil {
		return "", err
	}
	if at.ours() {
		return "", fmt.Errorf("%s is mounted there already: vmsync umount %s", at.source, path)
	}
	return path, checkEmpty(path)
}

// resolve makes a path absolute and free of symbolic links. The last component may be
// a mount that cannot be looked into: a dead one, or one of another user, even for root.
func resolve(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	real, err := filepath.EvalSymlinks(path)
	if err == nil {
		return real, nil
	}
	parent, err2 := filepath.EvalSymlinks(filepath.Dir(path))
	if err2 == nil && (errors.Is(err, unix.ENOTCONN) || errors.Is(err, unix.EACCES)) {
		return filepath.Join(parent, filepath.Base(path)), nil
	}
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("mount point %s does not exist: mkdir -p %s", path, path)
	}
	return "", err
}

// dead says that what is mounted at a path has no process any more. Statfs asks it, where
// the kernel would answer other calls from memory.
func dead(path string) bool {
	return errors.Is(unix.Statfs(path, new(unix.Statfs_t)), unix.ENOTCONN)
}

func checkEmpty(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	info, err := dir.Stat()
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("mount point %s is not a folder", path)
	}
	names, err := dir.Readdirnames(1)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if len(names) > 0 {
		return fmt.Errorf("mount point %s is not empty: it holds %q", path, names[0])
	}
	return nil
}

// clearStale unmounts a mount whose process is dead, if it is vmsync's.
func clearStale(path string) error {
	at, err := mountedAt(path)
	if err != nil {
		return err
	}
	if !at.ours() {
		kind := "something"
		if at != nil {
			kind = at.kind
		}
		return fmt.Errorf("%s is a dead mount of %s, which is not vmsync's: umount -l %s", path, kind, path)
	}
	return detach(path)
}

// detach takes a mount out of the tree of files, even one that is in use: who has a file
// of it open can go on with that.
func detach(path string) error {
	err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	if errors.Is(err, unix.EPERM) {
		return fusermount("-u", "-z", path)
	}
	return os.NewSyscallError("umount", err)
}

// unmount unmounts what is not in use.
func unmount(path string) error {
	err := unix.Unmount(path, unix.UMOUNT_NOFOLLOW)
	if errors.Is(err, unix.EPERM) {
		return fusermount("-u", path)
	}
	if errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("%s: %w", path, errBusy)
	}
	return os.NewSyscallError("umount", err)
}

var errBusy = errors.New("somebody has files of it open, or is in it")

// fusermount unmounts for users who may not call umount(2).
func fusermount(args ...string) error {
	out, err := exec.Command("fusermount3", args...).CombinedOutput()
	if err == nil {
		return nil
	}
	text := strings.TrimSpace(string(out))
	if strings.Contains(text, "busy") { // its only way of saying so
		return fmt.Errorf("%s: %w", args[len(args)-1], errBusy)
	}
	if text != "" {
		return errors.New(text)
	}
	return fmt.Errorf("fusermount3: %w", err)
}

// Unmount unmounts a tree that [New] has mounted, whichever process that was. Lazy takes it
// away even where somebody uses it.
func Unmount(mountpoint string, lazy bool) error {
	path, err := resolve(mountpoint)
	if err != nil {
		return err
	}
	at, err := mountedAt(path)
	switch {
	case err != nil:
		return err
	case at == nil:
		return fmt.Errorf("nothing is mounted at %s", path)
	case !at.ours():
		return fmt.Errorf("what is mounted at %s is %s, not vmsync's", path, at.kind)
	case lazy:
		return detach(path)
	}
	if dead(path) {
		return detach(path)
	}
	return unmount(path)
}
