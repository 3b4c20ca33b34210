package lab

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Info describes a lab of this machine.
type Info struct {
	Name    string
	Owner   int // pid, 0 for a lab made by hand
	Created time.Time
	Hosts   []HostInfo
}

// HostInfo describes one host of a lab.
type HostInfo struct {
	Name, Addr string
	Running    bool
}

// List describes the labs of this machine.
func List() ([]Info, error) {
	names, err := labNames()
	if err != nil {
		return nil, err
	}
	var infos []Info
	for _, n := range names {
		rec, err := readRecord(n)
		if err != nil {
			continue // being made, or remains
		}
		info := Info{Name: n, Created: rec.Created}
		if rec.Owner != nil {
			info.Owner = rec.Owner.PID
		}
		for _, h := range newLab(rec, "").hosts {
			info.Hosts = append(info.Hosts, HostInfo{h.name, h.addr, h.Running()})
		}
		infos = append(infos, info)
	}
	return infos, nil
}

// RandomName returns a name for a test's lab.
func RandomName() string { return "t-" + strings.ToLower(rand.Text()[:8]) }

// Collect removes the labs whose owner is dead and the remains of labs whose
// making was interrupted.
func Collect() error {
	unlock, err := lockLabs()
	if err != nil {
		return err
	}
	defer unlock()
	return collect()
}

// collect is Collect for a caller that holds the lock.
func collect() error {
	names, err := labNames()
	if err != nil {
		return err
	}
	boot, err := bootID()
	if err != nil {
		return err
	}
	var errs []error
	for _, n := range names {
		rec, err := readRecord(n)
		// The caller holds the lock, so nobody is making a lab now.
		if err == nil && rec.Boot == boot && !rec.Making && (rec.Owner == nil || rec.Owner.alive()) {
			continue
		}
		errs = append(errs, remove(n))
	}
	return errors.Join(errs...)
}

// labNames lists all labs that left a folder or a cgroup.
func labNames() ([]string, error) {
	roots, err := cgroupRoots()
	if err != nil {
		return nil, err
	}
	dirs := []string{baseDir}
	for _, r := range roots {
		dirs = append(dirs, filepath.Join(r, "vmsync-lab"))
	}
	var names []string
	seen := map[string]bool{}
	for _, d := range dirs {
		entries, _ := os.ReadDir(d)
		for _, e := range entries {
			if e.IsDir() && nameRE.MatchString(e.Name()) && !seen[e.Name()] {
				seen[e.Name()] = true
				names = append(names, e.Name())
			}
		}
	}
	return names, nil
}

// startReaper starts the process that removes the lab when its owner dies.
func (l *Lab) startReaper(owner process) error {
	_, err := l.spawn(filepath.Join(labCgroup(l.name), "lab-reaper"), filepath.Join(labDir(l.name), "reaper.log"), nil,
		l.tool, "reap", l.name, strconv.Itoa(owner.PID), strconv.FormatUint(owner.Start, 10))
	return err
}

// Reap waits for a lab's owner to die and then removes the lab. It is what the
// lab's own helper command runs.
func Reap(name string, pid int, start uint64) error {
	owner := process{PID: pid, Start: start}
	if err := owner.waitDead(); err != nil {
		return err
	}
	// Removing the lab kills all in its cgroup, which this process is still in.
	if err := enterCgroup(""); err != nil {
		return err
	}
	unlock, err := lockLabs()
	if err != nil {
		return err
	}
	defer unlock()
	rec, err := readRecord(name)
	if err != nil || rec.Owner == nil || *rec.Owner != owner {
		return nil // somebody was quicker
	}
	return remove(name)
}

func toolPath(lab string) string { return filepath.Join(labDir(lab), "tool") }

// buildTool builds the lab command for a caller that is not the lab command.
func buildTool(ctx context.Context, lab string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "build", "-o", toolPath(lab), "vmsync/tests/lab/cmd/lab")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the lab command: %w: %s", err, out)
	}
	return toolPath(lab), nil
}
