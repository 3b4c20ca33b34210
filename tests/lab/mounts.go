package lab

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// mountOverlay mounts a host's root: the machine's root below, dir/upper above.
func mountOverlay(lab, host string) error {
	for _, d := range []string{"upper", "work", "root"} {
		if err := os.MkdirAll(hostFile(lab, host, d), 0o755); err != nil {
			return err
		}
	}
	opts := fmt.Sprintf("lowerdir=/,upperdir=%s,workdir=%s",
		hostFile(lab, host, "upper"), hostFile(lab, host, "work"))
	if err := unix.Mount("overlay", hostFile(lab, host, "root"), "overlay", 0, opts); err != nil {
		return fmt.Errorf("mount the overlay of host %s: %w", host, err)
	}
	return nil
}

// mountsBelow lists the mount points at or below dir, deepest last.
func mountsBelow(dir string) ([]string, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var found []string
	s := bufio.NewScanner(f)
	for s.Scan() {
		fields := strings.Fields(s.Text())
		if len(fields) > 4 && (fields[4] == dir || strings.HasPrefix(fields[4], dir+"/")) {
			found = append(found, fields[4])
		}
	}
	return found, s.Err()
}

// unmountBelow unmounts everything at or below dir.
func unmountBelow(dir string) error {
	points, err := mountsBelow(dir)
	if err != nil {
		return err
	}
	for i := len(points) - 1; i >= 0; i-- {
		err := unix.Unmount(points[i], 0)
		if errors.Is(err, unix.EBUSY) {
			// Somebody on the machine looks into the host. The mount goes when they do.
			err = unix.Unmount(points[i], unix.MNT_DETACH)
		}
		if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("unmount %s: %w", points[i], err)
		}
	}
	return nil
}

// makeOpaque makes dir hide the machine's folder of the same path.
func makeOpaque(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := unix.Setxattr(dir, "trusted.overlay.opaque", []byte("y"), 0); err != nil {
		return fmt.Errorf("make %s opaque: %w", dir, err)
	}
	return nil
}
