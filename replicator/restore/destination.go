package restore

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"vmsync/internal/qemu"
	"vmsync/internal/store"
	"vmsync/replicator"
)

// kind is what a destination is.
type kind int

const (
	folder kind = iota
	file
	device // a block device
)

// destination is where a state goes.
type destination struct {
	kind kind
	path string
}

// classify finds out what a path is, or is to be.
func classify(path string) (destination, error) {
	if !filepath.IsAbs(path) {
		return destination{}, fmt.Errorf("--to %q must be an absolute path", path)
	}
	clean := filepath.Clean(path)
	st, err := os.Stat(clean)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !strings.HasSuffix(path, "/") && formatOf(clean) != "":
		return destination{file, clean}, nil
	case errors.Is(err, fs.ErrNotExist) && strings.HasPrefix(clean, "/dev/"):
		return destination{}, fmt.Errorf("there is no device %s", clean)
	case errors.Is(err, fs.ErrNotExist):
		return destination{folder, clean}, nil
	case err != nil:
		return destination{}, err
	case st.IsDir():
		return destination{folder, clean}, nil
	case st.Mode().IsRegular():
		return destination{file, clean}, nil
	case st.Mode()&fs.ModeDevice != 0 && st.Mode()&fs.ModeCharDevice == 0:
		return destination{device, clean}, nil
	}
	return destination{}, fmt.Errorf("%s is neither a folder nor a file nor a block device", clean)
}

// formatOf is the format that a file's name suggests, "" for none.
func formatOf(path string) string {
	switch filepath.Ext(path) {
	case ".qcow2":
		return qemu.FormatQcow2
	case ".img", ".raw":
		return qemu.FormatRaw
	}
	return ""
}

// piece is one file to make, or the device to write.
type piece struct {
	path   string // final
	temp   string // what has been written so far; empty for nothing
	placed bool   // it has its final name
	// disk is set for a disk, with its format; else from names a file of the replica's.
	disk   *store.Disk
	format string
	from   string
	// held is the device, so that nobody else mounts it.
	held *os.File
}

// layout decides what is written to a destination: disks, and in a folder the extras as
// well.
func layout(to destination, disks []store.Disk, format string, extras map[string]string) ([]piece, error) {
	if format != "" && format != qemu.FormatQcow2 && format != qemu.FormatRaw {
		return nil, fmt.Errorf("--format %q: use qcow2 or raw", format)
	}
	if to.kind != folder && len(disks) != 1 {
		var names []string
		for _, d := range disks {
			names = append(names, d.Name)
		}
		return nil, fmt.Errorf("the state has the disks %s: choose one with --disk, or restore to a folder", strings.Join(names, ", "))
	}
	var pieces []piece
	switch to.kind {
	case device:
		if format == qemu.FormatQcow2 {
			return nil, errors.New("a block device is written raw")
		}
		return []piece{{path: to.path, disk: &disks[0], format: qemu.FormatRaw}}, nil
	case file:
		if format == "" {
			format = formatOf(to.path)
		}
		if format == "" {
			return nil, fmt.Errorf("which format is %s to have? Say --format qcow2 or --format raw", to.path)
		}
		return []piece{{path: to.path, disk: &disks[0], format: format}}, nil
	}
	ending := ".img"
	if format != qemu.FormatRaw {
		format, ending = qemu.FormatQcow2, ".qcow2"
	}
	for i := range disks {
		pieces = append(pieces, piece{path: filepath.Join(to.path, disks[i].Name+ending), disk: &disks[i], format: format})
	}
	for _, name := range slices.Sorted(maps.Keys(extras)) {
		pieces = append(pieces, piece{path: filepath.Join(to.path, name), from: extras[name]})
	}
	return pieces, nil
}

// refuseExisting refuses to overwrite what is there, unless that was asked for.
func (r *restore) refuseExisting() error {
	if r.dest.kind == device {
		return r.holdDevice(&r.pieces[0])
	}
	for _, p := range r.pieces {
		st, err := os.Lstat(p.path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return r.fail(replicator.KindOther, "", "", err)
		case !st.Mode().IsRegular():
			return r.usage(fmt.Errorf("%s exists and is no regular file", p.path))
		case !r.req.Force:
			return r.usage(fmt.Errorf("%s exists; --force overwrites it", p.path))
		}
	}
	return nil
}

// holdDevice opens the device so that nobody can mount it, and makes sure that the disk
// has room on it.
func (r *restore) holdDevice(p *piece) error {
	if !r.req.Yes {
		return r.usage(fmt.Errorf("what is on the device %s will be lost; say --yes if that is all right", p.path))
	}
	f, err := os.OpenFile(p.path, os.O_RDWR|unix.O_EXCL, 0)
	if errors.Is(err, unix.EBUSY) {
		return r.fail(replicator.KindOther, p.disk.Name, "unmount it, or take it out of what uses it", fmt.Errorf("the device %s is in use: %w", p.path, err))
	}
	if err != nil {
		return r.fail(replicator.KindOther, p.disk.Name, "", err)
	}
	size, err := f.Seek(0, 2)
	if err == nil && size < p.disk.Size {
		err = fmt.Errorf("the disk has %d bytes, the device %s only %d", p.disk.Size, p.path, size)
	}
	if err != nil {
		return r.fail(replicator.KindOther, p.disk.Name, "", errors.Join(err, f.Close()))
	}
	p.held = f
	return nil
}
