package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"vmsync/tests/lab"
)

// What the cases of the mounted tree look at: a disk of 2 GiB whose first 1.5 GiB are an
// ext4 filesystem with a tree of small files and one large one, and a replica of it
// with ten states, so that the newest is read through a chain of ten images.
const (
	fuseMachine = "files"
	fuseDisk    = 2 * gib
	fuseSystem  = 3 * gib / 2 // the filesystem's size
	treeFiles   = 20000
	fuseStates  = 10

	fuseMount  = "/mnt/bench"
	fuseExport = "/run/bench-qsd.raw" // by qemu-storage-daemon
	loopMount  = "/mnt/bench-loop"    // by the kernel, over it
)

// replicaWithFiles makes the machine and its replica.
func (b *bench) replicaWithFiles() (discard func(error) error, err error) {
	vm, err := b.hosta.CreateMachine(b.ctx, lab.MachineSpec{Name: fuseMachine, Disks: []lab.DiskSpec{{Target: "vda", Size: fuseDisk}}})
	if err != nil {
		return nil, err
	}
	discard = func(err error) error { return b.discard(vm, err) }
	defer func() {
		if err != nil {
			err = discard(err)
		}
	}()
	if err := vm.Destroy(b.ctx); err != nil {
		return nil, err
	}
	if err := b.fillWithFiles(vm); err != nil {
		return nil, err
	}
	if err := vm.StartPaused(b.ctx); err != nil {
		return nil, err
	}
	for i := range int64(fuseStates) {
		if i > 0 {
			changes := func(yield func(change) bool) {
				for k := range int64(64) {
					if !yield(change{offset: fuseSystem + (i*64+k)*700<<10, length: 256 << 10}) {
						return
					}
				}
			}
			if err := b.dirty(vm, "vda", changes); err != nil {
				return nil, err
			}
		}
		if _, err := b.hostb.Run(b.ctx, "vmsync", "sync", fuseMachine, "--source-uri", "qemu+ssh://root@hosta/system", "--keep", "20"); err != nil {
			return nil, err
		}
	}
	return discard, nil
}

// fillWithFiles makes the filesystem on the machine that all hosts are on.
func (b *bench) fillWithFiles(vm *lab.Machine) error {
	image, err := vm.DiskPath(b.ctx, "vda")
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "vmsync-bench-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	script := `set -e; cd "$1"; truncate -s $2 raw; mkfs.ext4 -q -F raw; mkdir at; mount -o loop raw at; trap 'umount at' EXIT
head -c 512M /dev/urandom >at/big
head -c 400M /dev/urandom >noise
for d in $(seq $(($3 / 100))); do mkdir -p at/tree/$d
	for f in $(seq 100); do dd if=noise of=at/tree/$d/file-$f bs=1K count=$((1 + (d * f) % 16)) skip=$(((d * 100 + f) * 16)) status=none; done
done
umount at; trap - EXIT; rm noise; truncate -s $4 raw; qemu-img convert -f raw -O qcow2 raw "$5"`
	args := []string{"-c", script, "fill", dir, fmt.Sprint(fuseSystem), fmt.Sprint(treeFiles), fmt.Sprint(fuseDisk), b.hosta.Path(image)}
	if out, err := exec.CommandContext(b.ctx, "bash", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("fill vda: %w\n%s", err, out)
	}
	return nil
}

// ours mounts the store in hostb while do runs, which gets the newest state's folder.
func (b *bench) ours(do func(state string) error, flags ...string) (err error) {
	if _, err := b.hostb.Run(b.ctx, "mkdir", "-p", fuseMount); err != nil {
		return err
	}
	if _, err := b.hostb.Run(b.ctx, append([]string{"vmsync", "mount", fuseMount}, flags...)...); err != nil {
		return err
	}
	defer func() {
		_, uerr := b.hostb.Run(context.WithoutCancel(b.ctx), "vmsync", "umount", fuseMount)
		err = errors.Join(err, uerr)
	}()
	return do(filepath.Join(fuseMount, fuseMachine, "latest"))
}

// newestImage is the path of the newest state's image in hostb.
func (b *bench) newestImage() (string, error) {
	out, err := b.hostb.Run(b.ctx, "sh", "-c", "ls -t /var/lib/vmsync/"+fuseMachine+"/disks/vda.*.qcow2 | head -n 1")
	return strings.TrimSpace(out), err
}

// storageDaemon exports the newest state by qemu-storage-daemon while do runs.
func (b *bench) storageDaemon(do func() error) error {
	image, err := b.newestImage()
	if err != nil {
		return err
	}
	if _, err := b.hostb.Run(b.ctx, "touch", fuseExport); err != nil {
		return err
	}
	ready := func() bool {
		out, err := b.hostb.Run(b.ctx, "stat", "-c", "%s", fuseExport)
		return err == nil && strings.TrimSpace(out) == fmt.Sprint(int64(fuseDisk))
	}
	d, err := b.serve(b.hostb, ready, "qemu-storage-daemon",
		"--blockdev", "driver=file,node-name=f,filename="+image+",read-only=on", "--blockdev", "driver=qcow2,node-name=q,file=f,read-only=on",
		"--export", "type=fuse,id=e,node-name=q,mountpoint="+fuseExport+",writable=off")
	if err != nil {
		return err
	}
	err = do()
	_, serr := d.stop()
	return errors.Join(err, serr)
}

// fuseReadCase reads a disk in order and at random, as our tree shows it and as
// qemu-storage-daemon's FUSE export does.
func fuseReadCase(b *bench, rounds int) (rows []row, err error) {
	discard, err := b.replicaWithFiles()
	if err != nil {
		return nil, err
	}
	defer func() { err = discard(err) }()
	err = b.storageDaemon(func() error {
		return b.ours(func(state string) error {
			paths := []string{filepath.Join(state, "disks/vda.raw"), fuseExport}
			for _, c := range []struct {
				what string
				goal float64
				read func(path string) (cost, error)
			}{
				{"read of vda.raw, 2 GiB, in order", 0.8, b.readInOrder},
				{"20,000 reads of 4 KiB of vda.raw at random", 1.0, b.readAtRandom},
			} {
				got, err := b.compare(rounds, contender{"vmsync mount", func() (cost, error) { return c.read(paths[0]) }},
					contender{"qemu-storage-daemon", func() (cost, error) { return c.read(paths[1]) }})
				if err != nil {
					return err
				}
				us, them := got[0].wall, got[1].wall
				rows = append(rows, row{what: c.what, ours: fmt.Sprintf("%.2f s", us.Seconds()),
					reference: fmt.Sprintf("qemu-storage-daemon %.2f s", them.Seconds())}.atLeast("%.2f ×", them.Seconds()/us.Seconds(), c.goal))
			}
			return nil
		})
	})
	return rows, err
}

// forgetPages makes the kernel forget what it has read of a file, so that it is read
// through whoever serves it.
const forgetPages = `dd if="$1" iflag=nocache count=0 status=none; `

func (b *bench) readInOrder(path string) (cost, error) {
	_, c, err := b.measured(b.hostb, "sh", "-c", forgetPages+`dd if="$1" of=/dev/null bs=1M status=none`, "read", path)
	return c, err
}

// readAtRandom reads within the large file's part of the disk and around it.
func (b *bench) readAtRandom(path string) (cost, error) {
	if _, err := b.hostb.Run(b.ctx, "sh", "-c", forgetPages, "read", path); err != nil {
		return cost{}, err
	}
	script := `import os, random, sys
f = os.open(sys.argv[1], os.O_RDONLY)
os.posix_fadvise(f, 0, 0, os.POSIX_FADV_RANDOM)
r = random.Random(7)
for _ in range(20000):
    if len(os.pread(f, 4096, r.randrange(1 << 19) * 4096)) != 4096: sys.exit("short read")
`
	_, c, err := b.measured(b.hostb, "python3", "-c", script, path)
	return c, err
}

// fuseTreeCase reads a tree of small files with tar: from our tree, from a loop mount by
// the kernel over qemu-storage-daemon's export, and through guestmount.
func fuseTreeCase(b *bench, rounds int) (rows []row, err error) {
	discard, err := b.replicaWithFiles()
	if err != nil {
		return nil, err
	}
	defer func() { err = discard(err) }()
	// Each is mounted anew for each measurement, so that the kernel has nothing of it.
	tar := func(dir string) (c cost, err error) {
		_, c, err = b.measured(b.hostb, "sh", "-c", `tar -cf - -C "$1" . | cat >/dev/null`, "tar", dir)
		return c, err
	}
	ours := func() (c cost, err error) {
		err = b.ours(func(state string) error {
			c, err = tar(filepath.Join(state, "files/vda/tree"))
			return err
		})
		return c, err
	}
	var got []cost
	err = b.storageDaemon(func() error {
		got, err = b.compare(rounds, contender{"vmsync mount", ours}, contender{"loop mount", func() (cost, error) {
			return b.loopMounted(tar)
		}})
		return err
	})
	if err != nil {
		return nil, err
	}
	appliance, err := b.guestMounted()
	if err != nil {
		return nil, err
	}
	us, loop := got[0].wall, got[1].wall
	oursText := fmt.Sprintf("%.2f s", us.Seconds())
	what := fmt.Sprintf("tar of %d files", treeFiles)
	return []row{
		row{what: what, ours: oursText, reference: fmt.Sprintf("kernel, loop mount over qemu-storage-daemon %.2f s", loop.Seconds())}.
			atLeast("%.2f ×", loop.Seconds()/us.Seconds(), 0.5),
		row{what: what, ours: oursText, reference: fmt.Sprintf("guestmount %.2f s", appliance.Seconds())}.
			atLeast("%.1f ×", appliance.Seconds()/us.Seconds(), 3),
	}, nil
}

func (b *bench) loopMounted(tar func(string) (cost, error)) (c cost, err error) {
	if _, err := b.hostb.Run(b.ctx, "sh", "-c", "mkdir -p $1 && mount -o ro,loop $2 $1", "mount", loopMount, fuseExport); err != nil {
		return c, err
	}
	defer func() {
		_, uerr := b.hostb.Run(context.WithoutCancel(b.ctx), "umount", loopMount)
		err = errors.Join(err, uerr)
	}()
	return tar(loopMount + "/tree")
}

// applianceKernel gives libguestfs a kernel to start its machine with, as it lies in its
// package: this machine's own may have none that can be read.
const applianceKernel = `set -e; d=/var/cache/vmsync-lab/appliance
if [ ! -e $d/ready ]; then rm -rf $d; mkdir -p $d; cd $d
	p=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
	apt-get -qq -o APT::Sandbox::User=root download $p; dpkg-deb -x *.deb .; rm *.deb; depmod -b $d $(ls lib/modules); touch ready
fi
mkdir -p /lib/modules # which supermin looks into, whatever it is told
export SUPERMIN_KERNEL=$(ls $d/boot/vmlinuz-*) SUPERMIN_MODULES=$(ls -d $d/lib/modules/*)
export LIBGUESTFS_BACKEND=direct LIBGUESTFS_BACKEND_SETTINGS=force_tcg; `

// guestMounted mounts the newest state with libguestfs' guestmount, on the machine that the
// hosts are on. What libguestfs' own machine takes to start does not count.
func (b *bench) guestMounted() (took time.Duration, err error) {
	image, err := b.newestImage()
	if err != nil {
		return 0, err
	}
	work, err := os.MkdirTemp("", "vmsync-bench-*")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(work)
	dir := filepath.Join(work, "at")
	local := func(script string, args ...string) error {
		cmd := exec.CommandContext(b.ctx, "bash", append([]string{"-c", script, "guestmount"}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("guestmount: %w\n%s", err, out)
		}
		return nil
	}
	// libguestfs resolves the names of images, and hostb's own do not lead there from here.
	if err := local(`mkdir "$2" && cp --sparse=always "$1"/* "$3"`, b.hostb.Path(filepath.Dir(image)), dir, work); err != nil {
		return 0, err
	}
	began := time.Now()
	if err := local(applianceKernel+`guestmount --format=qcow2 -a "$1" -m /dev/sda --ro "$2"`, filepath.Join(work, filepath.Base(image)), dir); err != nil {
		return 0, err
	}
	b.logf("  guestmount was ready after %v", time.Since(began).Round(time.Second))
	defer func() { err = errors.Join(err, exec.Command("guestunmount", dir).Run()) }()
	began = time.Now()
	err = local(`tar -cf - -C "$1/tree" . | cat >/dev/null`, dir)
	took = time.Since(began)
	b.logf("  guestmount: %v", took)
	return took, err
}
