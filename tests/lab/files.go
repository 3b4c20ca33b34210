package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Path is where the machine finds a host's file. Through it big files can be
// read without a copy. It changes when the host goes down or boots: ask again.
// While the host runs it shows its mounts too. Absolute symbolic links are
// followed on the machine, not in the host.
func (h *Host) Path(p string) string {
	if leader, err := h.leader(); err == nil {
		return filepath.Join("/proc", strconv.Itoa(leader.PID), "root", p)
	}
	return filepath.Join(hostFile(h.lab.name, h.name, "root"), p)
}

// ReadFile reads a host's file.
func (h *Host) ReadFile(p string) ([]byte, error) { return os.ReadFile(h.Path(p)) }

// WriteFile writes a host's file, replacing an old one atomically. Missing
// folders are made.
func (h *Host) WriteFile(p string, data []byte, mode fs.FileMode) error {
	to := h.Path(p)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	if err := replaceFile(to, data, mode); err != nil {
		return fmt.Errorf("write %s in host %s: %w", p, h.name, err)
	}
	return nil
}

// CopyIn copies a file of the machine, with its mode, to a path in the host. A
// file there is replaced atomically, also a program that runs.
func (h *Host) CopyIn(from, to string) error {
	if err := copyFile(from, h.Path(to)); err != nil {
		return fmt.Errorf("copy %s to %s in host %s: %w", from, to, h.name, err)
	}
	return nil
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	st, err := in.Stat()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	out, err := os.CreateTemp(filepath.Dir(to), ".lab-*")
	if err != nil {
		return err
	}
	defer os.Remove(out.Name())
	_, err = io.Copy(out, in)
	if err = errors.Join(err, out.Chmod(st.Mode().Perm()), out.Close()); err != nil {
		return err
	}
	return os.Rename(out.Name(), to)
}

// SmallFS mounts an empty tmpfs of size bytes at dir in the host, to be filled
// up. It goes when the host goes down or with `umount`.
func (h *Host) SmallFS(ctx context.Context, dir string, size int64) error {
	if _, err := h.Run(ctx, "mkdir", "-p", "--", dir); err != nil {
		return err
	}
	_, err := h.Run(ctx, "mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%d,mode=0755", size), "lab", dir)
	return err
}

// fillName is the file that takes the space in a filled file system.
const fillName = ".lab-fill"

// fillStep is how much is allocated at a time: the kernel begins a step anew when a signal
// interrupts it, and one that takes long would never end.
const fillStep = 64 << 20

// Fill takes all free space but leave bytes of the file system of dir, which
// must be a [Host.SmallFS]: anything else shares its space with the machine.
// Filling again changes how much is left.
func (h *Host) Fill(dir string, leave int64) error {
	p := h.Path(dir)
	var st unix.Statfs_t
	if err := unix.Statfs(p, &st); err != nil {
		return fmt.Errorf("fill %s in host %s: %w", dir, h.name, err)
	}
	if st.Type != unix.TMPFS_MAGIC {
		return fmt.Errorf("fill %s in host %s: it is not a file system of its own; make one with `lab smallfs`", dir, h.name)
	}
	if err := h.Unfill(dir); err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(p, fillName))
	if err != nil {
		return err
	}
	defer f.Close()
	for at, tries := int64(0), 0; tries < 100; {
		if err = unix.Statfs(p, &st); err != nil {
			break
		}
		take := min(int64(st.Bavail)*st.Bsize-leave, fillStep)
		if take <= 0 {
			return nil
		}
		// Others write meanwhile: what was free is not any more.
		switch err = unix.Fallocate(int(f.Fd()), 0, at, take); {
		case err == nil:
			at += take
			continue
		case !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EINTR):
			return fmt.Errorf("fill %s in host %s: %w", dir, h.name, err)
		}
		tries++
	}
	if err != nil {
		return fmt.Errorf("fill %s in host %s: %w", dir, h.name, err)
	}
	return nil
}

// Unfill frees what [Host.Fill] took.
func (h *Host) Unfill(dir string) error {
	err := os.Remove(filepath.Join(h.Path(dir), fillName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// tail is the end of a log of the lab's own, to be put into an error.
func tail(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(b[max(0, len(b)-500):]))
}
