// Command demo shows vmsync at work on real hypervisor hosts: it brings up two,
// starts a live machine on one, replicates it to the other in full, changes it,
// replicates the changes, compares, and takes everything down. `make demo` runs
// it.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"vmsync/tests/lab"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	say("Bringing up two hypervisor hosts, hosta and hostb (systemd, libvirtd, sshd)")
	l, err := lab.Up(ctx, lab.Config{Name: lab.RandomName(), Owner: true, Hosts: []string{"hosta", "hostb"}, Install: map[string]string{
		bin("vmsync"):     "/usr/local/bin/vmsync",
		bin("vmsync-nbd"): "/usr/local/bin/vmsync-nbd",
	}})
	if err != nil {
		return err
	}
	defer func() {
		say("Taking everything down")
		if derr := l.Down(); err == nil {
			err = derr
		}
	}()
	d := &demo{ctx: ctx, hosta: l.Host("hosta"), hostb: l.Host("hostb")}
	return d.show()
}

// demo is the show on its way; it stops at the first error.
type demo struct {
	ctx          context.Context
	hosta, hostb *lab.Host
	vm           *lab.Machine
}

func (d *demo) show() error {
	say("Starting machine vm1 on hosta: two disks, a live guest with its agent")
	var err error
	d.vm, err = d.hosta.CreateMachine(d.ctx, lab.MachineSpec{Name: "vm1", Guest: true,
		Disks: []lab.DiskSpec{{Target: "vda", Size: 1 << 30}, {Target: "vdb", Size: 512 << 20}}})
	if err != nil {
		return err
	}
	for _, step := range []func() error{
		func() error {
			say("Writing files in the guest")
			return d.guest("cd /mnt; dd if=/dev/urandom of=vda/precious bs=1M count=64; dd if=/dev/urandom of=vdb/old bs=1M count=32; echo one > vda/note; sync")
		},
		func() error { return d.sync("First sync, run on hostb: everything") },
		d.compare,
		func() error {
			say("Writing, deleting and trimming in the guest")
			return d.guest("cd /mnt; echo two > vda/note; dd if=/dev/urandom of=vda/new bs=1M count=8; rm vdb/old; sync; fstrim vdb")
		},
		func() error { return d.sync("Second sync: what changed") },
		d.compare,
		d.look,
		d.boot,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) guest(script string) error {
	fmt.Println("  guest#", script)
	_, err := d.vm.Guest(d.ctx, "sh", "-e", "-c", script)
	return err
}

func (d *demo) sync(title string) error {
	say(title)
	argv := []string{"vmsync", "sync", "vm1", "--source-uri", "qemu+ssh://root@hosta/system", "--keep", "5"}
	fmt.Println("  hostb#", strings.Join(argv, " "))
	cmd := d.hostb.Command(d.ctx, argv...)
	cmd.Stdout, cmd.Stderr = indent{os.Stdout}, indent{os.Stdout}
	return cmd.Run()
}

// compare pauses the guest at a third sync's checkpoint, so that the source's
// disk itself can be compared with the replica, and not only with checksums.
func (d *demo) compare() error {
	say("Comparing: the guest is paused, its last writes are synced, then every byte is compared")
	if err := d.vm.Pause(d.ctx); err != nil {
		return err
	}
	argv := []string{"vmsync", "sync", "vm1", "--source-uri", "qemu+ssh://root@hosta/system", "--progress", "none"}
	cmd := d.hostb.Command(d.ctx, argv...)
	cmd.Stderr = indent{os.Stdout}
	if err := cmd.Run(); err != nil {
		return err
	}
	for _, disk := range []string{"vda", "vdb"} {
		if err := d.compareDisk(disk); err != nil {
			return err
		}
	}
	return d.vm.Resume(d.ctx)
}

// look reads files of the states without starting anything.
func (d *demo) look() error {
	say("Looking into the states on hostb, without starting or mounting the guest's disks")
	for _, line := range []string{"mkdir -p /mnt/vmsync && vmsync mount /mnt/vmsync", "cd /mnt/vmsync/vm1/states; head */files/vda/note",
		"ls -l /mnt/vmsync/vm1/latest/files/vda", "vmsync umount /mnt/vmsync"} {
		fmt.Println("  hostb#", line)
		cmd := d.hostb.Command(d.ctx, "sh", "-e", "-c", line)
		cmd.Stdout, cmd.Stderr = indent{os.Stdout}, indent{os.Stdout}
		if err := cmd.Run(); err != nil {
			return err
		}
	}
	return nil
}

// boot starts the replica as after the loss of hosta.
func (d *demo) boot() error {
	say("hosta is lost: starting the replica on hostb")
	if err := d.hosta.Crash(d.ctx); err != nil {
		return err
	}
	start := time.Now()
	fmt.Println("  hostb# virsh start vm1")
	replica := d.hostb.Machine("vm1")
	if err := replica.Start(d.ctx); err != nil {
		return err
	}
	if err := replica.WaitAgent(d.ctx); err != nil {
		return err
	}
	out, err := replica.Guest(d.ctx, "sh", "-c", "cat /mnt/vda/note; ls -l /mnt/vda /mnt/vdb")
	if err != nil {
		return err
	}
	fmt.Fprintf(indent{os.Stdout}, "the guest answers after %.1f s; its files:\n%s", time.Since(start).Seconds(), out)
	return nil
}

func bin(name string) string {
	p, err := filepath.Abs(filepath.Join("bin", name))
	if err != nil {
		panic(err)
	}
	return p
}

func say(title string) { fmt.Printf("\n== %s\n", title) }
