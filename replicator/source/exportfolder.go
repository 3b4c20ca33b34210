package source

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"vmsync/internal/acl"
	"vmsync/internal/domainxml"
	"vmsync/internal/libvirt"
	"vmsync/replicator/source/ours"
)

// libvirtQemuDir has a folder for each running domain, which qemu may write to under
// any security driver and which libvirt removes when the domain stops.
const libvirtQemuDir = "/var/lib/libvirt/qemu"

// exportSocket is where qemu is to listen.
func (e *End) exportSocket(ctx context.Context) (string, error) {
	dir, err := e.socketFolder(ctx)
	if err != nil {
		return "", err
	}
	socket := filepath.Join(dir, ours.SocketName(e.pair))
	if err := ours.CheckSocketPath(socket); err != nil {
		return "", err
	}
	// A killed qemu leaves its socket. The lock is held and no job is active.
	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	return socket, nil
}

// socketFolder is the folder of the domain that libvirt has made, or else one of our own.
func (e *End) socketFolder(ctx context.Context) (string, error) {
	if !e.opts.Place.Account {
		id, err := e.dom.ID(ctx)
		if err != nil {
			return "", err
		}
		if dir, err := ours.RunFolder(libvirtQemuDir, id, e.dom.Name); err != nil || dir != "" {
			return dir, err
		}
	}
	host, err := e.conn.Host(ctx)
	if err != nil {
		return "", err
	}
	return e.exportFolder(), e.makeExportFolder(host)
}

// exportFolder is the one that [End.makeExportFolder] makes.
func (e *End) exportFolder() string { return filepath.Join(e.opts.Place.RunDir, "export", e.dom.UUID) }

// makeExportFolder makes a folder that only qemu's user and this one can enter.
func (e *End) makeExportFolder(host libvirt.Host) error {
	// qemu passes through the parents, so they must be open to it; what they hold is
	// not secret and has modes of its own.
	run, dir := e.opts.Place.RunDir, e.exportFolder()
	if err := os.MkdirAll(run, 0o711); err != nil {
		return err
	}
	if err := os.Chmod(run, 0o711); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o711); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	switch {
	case host.QemuUID < 0:
		return nil
	case !e.opts.Place.Account:
		return os.Lchown(dir, host.QemuUID, host.QemuGID)
	}
	// The socket is qemu's, in a folder of ours: each lets the other in.
	return errors.Join(acl.Open(dir, host.QemuUID), acl.Bequeath(dir, os.Geteuid()))
}

// image is a drive's image, for its scratch file.
func (e *End) image(drive domainxml.Disk) ours.Image { return imageOf(drive, e.opts.Place) }

func imageOf(drive domainxml.Disk, place ours.Place) ours.Image {
	return ours.Image{Path: drive.Path, Block: drive.Type == "block", Scratch: place.Scratch}
}
