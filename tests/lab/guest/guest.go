// Package guest builds the small Linux guest that the lab's live machines run:
// Debian's cloud kernel, busybox, the real qemu-guest-agent and mke2fs, in one
// initramfs. It boots in a few seconds without hardware acceleration.
//
// The package downloads two Debian packages with apt-get and unpacks them into
// a cache; it must never install anything on the machine.
package guest

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// DefaultCache is where images are kept between runs.
const DefaultCache = "/var/cache/vmsync-lab"

// files holds the guest's own scripts: the only shell in the lab.
//
//go:embed files
var files embed.FS

// modules are loaded at boot, in this order. ext4 is built into the kernel. The
// random device goes first: mkfs waits for entropy, which an emulated processor
// has none of.
var modules = []string{
	"virtio_pci", "virtio-rng", "virtio_blk", "virtio_scsi", "sd_mod", "virtio_console",
	"virtio_balloon", "button", "evdev",
}

// extraModules are there for `modprobe`.
var extraModules = []string{"xfs", "vfat", "nls_ascii", "nls_cp437", "isofs", "loop", "dm-mod"}

// Image is a bootable guest: two files on the machine.
type Image struct{ Kernel, Initrd string }

// CmdLine is the kernel command line of a guest. The switches after the console
// make boot quicker; there is nothing to protect in here.
const CmdLine = "console=ttyS0 quiet panic=1 scsi_mod.scan=sync mitigations=off nokaslr no_timer_check random.trust_cpu=1"

// Build returns the image in the cache, which it makes if it is not there.
// Several processes may call it at once.
func Build(ctx context.Context, cache string) (Image, error) {
	key, err := cacheKey()
	if err != nil {
		return Image{}, err
	}
	dir := filepath.Join(cache, "guest-"+key)
	img := Image{Kernel: filepath.Join(dir, "vmlinuz"), Initrd: filepath.Join(dir, "initrd")}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return Image{}, err
	}
	lock, err := os.OpenFile(filepath.Join(cache, ".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return Image{}, err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return Image{}, fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	if _, err := os.Stat(dir); err == nil {
		return img, nil
	}
	tmp, err := os.MkdirTemp(cache, ".build-*")
	if err != nil {
		return Image{}, err
	}
	defer os.RemoveAll(tmp)
	if err := build(ctx, tmp); err != nil {
		return Image{}, fmt.Errorf("build the lab's guest: %w", err)
	}
	if err := os.Rename(filepath.Join(tmp, "image"), dir); err != nil {
		return Image{}, err
	}
	return img, nil
}

// cacheKey names an image by what this package puts into it. Newer Debian
// packages alone do not make a new one: tests stay comparable and offline.
func cacheKey() (string, error) {
	h := sha256.New()
	fmt.Fprintln(h, "2", modules, extraModules)
	entries, err := files.ReadDir("files")
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		b, err := files.ReadFile("files/" + e.Name())
		if err != nil {
			return "", err
		}
		fmt.Fprintln(h, e.Name(), len(b))
		h.Write(b)
	}
	return hex.EncodeToString(h.Sum(nil))[:12], nil
}

// build makes dir/image/{vmlinuz,initrd}; dir is scratch space otherwise.
func build(ctx context.Context, dir string) error {
	root := filepath.Join(dir, "root")
	if err := unpackDebs(ctx, dir, root); err != nil {
		return err
	}
	kernels, err := filepath.Glob(filepath.Join(root, "boot/vmlinuz-*"))
	if err != nil || len(kernels) != 1 {
		return fmt.Errorf("found %d kernels in the kernel package (%v), want one", len(kernels), err)
	}
	version := strings.TrimPrefix(filepath.Base(kernels[0]), "vmlinuz-")
	if err := os.Mkdir(filepath.Join(dir, "image"), 0o755); err != nil {
		return err
	}
	if err := os.Rename(kernels[0], filepath.Join(dir, "image/vmlinuz")); err != nil {
		return err
	}
	out, err := os.Create(filepath.Join(dir, "image/initrd"))
	if err != nil {
		return err
	}
	a := newArchive(out)
	err = fill(ctx, a, root, version)
	return errors.Join(err, a.close(), out.Close())
}

// fill writes the guest's whole root file system.
func fill(ctx context.Context, a *archive, root, version string) error {
	for _, d := range []string{"proc", "sys", "dev", "run", "tmp", "mnt", "root", "var/run", "var/log"} {
		a.dir(d)
	}
	a.node("dev/console", 5, 1) // the kernel opens it before anything is mounted
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		return fmt.Errorf("%w; install busybox-static", err)
	}
	a.file("bin/busybox", 0o755, busybox)
	a.link("init", "bin/busybox")
	if err := applets(ctx, a); err != nil {
		return err
	}
	entries, err := files.ReadDir("files")
	if err != nil {
		return err
	}
	for _, e := range entries {
		b, err := files.ReadFile("files/" + e.Name())
		if err != nil {
			return err
		}
		// A file's name is its path, with "--" for "/".
		a.file(strings.ReplaceAll(e.Name(), "--", "/"), 0o755, b)
	}
	a.file("etc/modules", 0o644, []byte(strings.Join(modules, "\n")+"\n"))
	if err := addModules(ctx, a, root, version); err != nil {
		return err
	}
	if err := addProgram(a, filepath.Join(root, "usr/sbin/qemu-ga"), "usr/sbin/qemu-ga"); err != nil {
		return err
	}
	return addProgram(a, "/sbin/mke2fs", "sbin/mkfs.ext4")
}
