package lab

import (
	"context"
	"fmt"
	"time"
)

// AttachDisk makes a disk and plugs it into the running machine, for good. In the
// lab's guest it is formatted and mounted at /mnt/TARGET too.
func (m *Machine) AttachDisk(ctx context.Context, d DiskSpec) error {
	d = d.withDefaults(m.name)
	if err := m.host.createImage(ctx, d); err != nil {
		return err
	}
	doc, err := diskXML(d)
	if err != nil {
		return err
	}
	path := "/run/lab-" + m.name + "-" + d.Target + ".xml"
	if err := m.host.WriteFile(path, []byte(doc), 0o600); err != nil {
		return err
	}
	if _, err := m.host.virsh(ctx, "attach-device", "--domain", m.name, path, "--live", "--config"); err != nil {
		return err
	}
	if !m.isGuest(ctx) {
		return nil
	}
	_, err = m.Control(ctx, fmt.Sprintf("for i in $(seq 100); do [ -b /dev/%s ] && break; sleep 0.1; done; lab-disk %s", d.Target, d.Target))
	return err
}

// DetachDisk unmounts a disk in a guest, unplugs it from the running machine,
// for good, and waits until it is gone. Its image stays.
func (m *Machine) DetachDisk(ctx context.Context, target string) error {
	if m.isGuest(ctx) {
		if _, err := m.Control(ctx, "umount /mnt/"+target); err != nil {
			return err
		}
	}
	if _, err := m.host.virsh(ctx, "detach-disk", "--domain", m.name, target, "--live", "--config"); err != nil {
		return err
	}
	for {
		disks, err := m.disks(ctx)
		if err != nil {
			return err
		}
		gone := true
		for _, d := range disks {
			gone = gone && d.Target.Dev != target
		}
		if gone {
			return nil
		}
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return fmt.Errorf("machine %s does not let go of disk %s: %w", m.name, target, err)
		}
	}
}

// isGuest says whether the lab's own guest runs in the machine.
func (m *Machine) isGuest(ctx context.Context) bool {
	d, err := m.live(ctx)
	if err != nil {
		return false
	}
	for _, c := range d.Channels {
		if c.Target.Name == "lab.control.0" {
			return true
		}
	}
	return false
}
