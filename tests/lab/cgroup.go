package lab

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// cgroupRoots are the hierarchies a host's systemd needs a place of its own in:
// cgroup v2, and systemd's named v1 hierarchy where the machine has one. The
// first is always v2, which is what lab processes are killed by.
func cgroupRoots() ([]string, error) {
	var st unix.Statfs_t
	for _, v2 := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		if unix.Statfs(v2, &st) != nil || st.Type != unix.CGROUP2_SUPER_MAGIC {
			continue
		}
		roots := []string{v2}
		if unix.Statfs("/sys/fs/cgroup/systemd", &st) == nil && st.Type == unix.CGROUP_SUPER_MAGIC {
			roots = append(roots, "/sys/fs/cgroup/systemd")
		}
		return roots, nil
	}
	return nil, errors.New("no cgroup v2 hierarchy at /sys/fs/cgroup or /sys/fs/cgroup/unified")
}

// labCgroup is the path, below each root, of a lab's cgroup.
func labCgroup(lab string) string { return filepath.Join("vmsync-lab", lab) }

// makeCgroup makes the group in all hierarchies.
func makeCgroup(group string) error {
	roots, err := cgroupRoots()
	if err != nil {
		return err
	}
	for _, r := range roots {
		if err := os.MkdirAll(filepath.Join(r, group), 0o755); err != nil {
			return err
		}
	}
	return nil
}

// enterCgroup moves the calling process into the group, in all hierarchies.
func enterCgroup(group string) error {
	roots, err := cgroupRoots()
	if err != nil {
		return err
	}
	for _, r := range roots {
		p := filepath.Join(r, group, "cgroup.procs")
		if err := os.WriteFile(p, []byte(strconv.Itoa(os.Getpid())), 0); err != nil {
			return fmt.Errorf("enter cgroup %s: %w", group, err)
		}
	}
	return nil
}

// removeCgroup kills every process in the group, waits for their end and
// removes the group. A group that does not exist is success.
func removeCgroup(group string) error {
	roots, err := cgroupRoots()
	if err != nil {
		return err
	}
	if err := killAll(filepath.Join(roots[0], group)); err != nil {
		return err
	}
	for _, r := range roots {
		if err := removeCgroupTree(filepath.Join(r, group)); err != nil {
			return err
		}
	}
	return nil
}

// killAll kills what is in a v2 cgroup until nothing is: a process may have been
// on its way in.
func killAll(dir string) error {
	deadline := time.Now().Add(20 * time.Second)
	for {
		err := os.WriteFile(filepath.Join(dir, "cgroup.kill"), []byte("1"), 0)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("kill processes of cgroup %s: %w", dir, err)
		}
		b, err := os.ReadFile(filepath.Join(dir, "cgroup.events"))
		if err != nil {
			return err
		}
		if bytes.Contains(b, []byte("populated 0")) {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("cgroup %s: processes survive SIGKILL for 20 s; look for ones in state D", dir)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// removeCgroupTree removes a cgroup and those below it. A process that was just
// killed may hold its v1 group for a moment longer than its v2 one.
func removeCgroupTree(dir string) error {
	var dirs []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, p)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for i := len(dirs) - 1; i >= 0; i-- {
		for try := 0; ; try++ {
			err := os.Remove(dirs[i])
			if err == nil || errors.Is(err, fs.ErrNotExist) {
				break
			}
			if !errors.Is(err, unix.EBUSY) || try == 200 {
				return fmt.Errorf("remove cgroup: %w", err)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	return nil
}
