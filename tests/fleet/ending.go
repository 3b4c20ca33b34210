package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"vmsync/internal/schedule"
	"vmsync/tests/lab"
)

// settle waits until all is as it should be, without anybody's help.
func (f *fleet) settle(ctx context.Context) error {
	f.say("the guests rest")
	// The machines are paused to be compared: nobody freezes them then.
	resting := strings.ReplaceAll(configText(), "quiesce: required", "quiesce: preferred")
	if err := f.target.WriteFile(configFile, []byte(resting), 0o600); err != nil {
		return err
	}
	if out, err := f.target.Run(ctx, "systemctl", "reload", "vmsync"); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return eventually(ctx, 3*time.Minute, "every replica is as fresh as promised", func() error {
		stands, err := f.status(ctx)
		if err != nil {
			return err
		}
		for _, m := range f.machines {
			if s := stands[m.name]; s.Health != schedule.Healthy || s.Failures > 0 {
				return fmt.Errorf("%s is %s after %d failures", m.name, s.Health, s.Failures)
			}
		}
		return nil
	})
}

// compareAll compares each head with the machine: by the program's own hashes of what the
// domain held at the checkpoint, and byte for byte with the disk of the paused machine.
func (f *fleet) compareAll(ctx context.Context) error {
	for _, m := range f.machines {
		// A look at what runs syncs; the service's own wait for it.
		out, err := f.target.Run(ctx, "vmsync", "verify", m.name, "--store", storeDir, "--against-source", "--source-uri", "qemu+ssh://root@"+m.source+"/system")
		if err != nil {
			return fmt.Errorf("compare %s with its source: %w\n%s", m.name, err, out)
		}
		if err := m.Pause(ctx); err != nil {
			return err
		}
		if out, err := f.target.Run(ctx, "vmsync", "sync", m.name); err != nil {
			return fmt.Errorf("sync %s: %w\n%s", m.name, err, out)
		}
		if out, err := f.target.Run(ctx, "vmsync", "pause", m.name); err != nil {
			return fmt.Errorf("pause %s: %w\n%s", m.name, err, out)
		}
		if err := f.identical(ctx, m); err != nil {
			return err
		}
		f.say("%s: the head is what the machine held, byte for byte", m.name)
	}
	return nil
}

// identical compares a machine's disk with its replica's.
func (f *fleet) identical(ctx context.Context, m *machine) error {
	path, err := m.DiskPath(ctx, "vda")
	if err != nil {
		return err
	}
	if _, err := m.QemuIO(ctx, "vda", "flush"); err != nil {
		return err
	}
	h, err := head(f.target, m.name)
	if err != nil {
		return err
	}
	image := filepath.Join(storeDir, m.name, h.Disks[0].Image)
	out, err := exec.CommandContext(ctx, "qemu-img", "compare", "-U", "-f", "qcow2", "-F", "qcow2", m.Host().Path(path), f.target.Path(image)).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: source and replica differ: %w\n%s", m.name, err, out)
	}
	return nil
}

// places are where runs keep things.
var places = []string{"/run/vmsync/source/*", "/run/vmsync/target/*", "/run/vmsync/frozen/*", "/run/vmsync/pending/*", "/run/vmsync/export/*",
	"/var/lib/libvirt/qemu/domain-*/vmsync*", lab.ImageDir + "/*.scratch", "/var/tmp/vmsync*"}

// nothingLeft ends the service and checks that nothing is left but replicas and the
// checkpoints that they build on.
func (f *fleet) nothingLeft(ctx context.Context) error {
	if out, err := f.target.Run(ctx, "systemctl", "stop", "vmsync"); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return eventually(ctx, time.Minute, "nothing is left behind", func() error {
		left, err := f.leftovers(ctx)
		if err == nil && len(left) > 0 {
			err = errors.New(strings.Join(left, "; "))
		}
		return err
	})
}

func (f *fleet) leftovers(ctx context.Context) ([]string, error) {
	var left []string
	for _, h := range f.lab.Hosts() {
		out, err := h.Run(ctx, "ps", "-e", "-o", "comm=")
		if err != nil {
			return nil, err
		}
		for program := range strings.FieldsSeq(out) {
			if slices.Contains([]string{"vmsync", "vmsync-nbd", "qemu-nbd", "qemu-img"}, program) {
				left = append(left, program+" on "+h.Name())
			}
		}
		for _, pattern := range places {
			names, err := filepath.Glob(h.Path(pattern))
			if err != nil {
				return nil, err
			}
			left = append(left, names...)
		}
	}
	for _, m := range f.machines {
		if out, err := m.Host().Run(ctx, "virsh", "domjobinfo", m.name); err == nil && !strings.Contains(out, "None") {
			left = append(left, "a job on "+m.name)
		}
		out, err := m.Host().Run(ctx, "virsh", "checkpoint-list", "--name", m.name)
		if err != nil {
			return nil, err
		}
		h, err := head(f.target, m.name)
		if err != nil {
			return nil, err
		}
		if got := strings.Fields(out); !slices.Equal(got, []string{h.Checkpoint}) {
			left = append(left, fmt.Sprintf("checkpoints %v of %s instead of %s", got, m.name, h.Checkpoint))
		}
		debris, err := f.debris(m)
		if err != nil {
			return nil, err
		}
		left = append(left, debris...)
	}
	return left, nil
}

// debris are files beside a replica's images that its manifest does not name.
func (f *fleet) debris(m *machine) ([]string, error) {
	held, err := manifest(f.target, m.name)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(storeDir, m.name)
	files, err := filepath.Glob(f.target.Path(dir + "/disks/*"))
	if err != nil {
		return nil, err
	}
	var left []string
	for _, file := range files {
		if !held.Files()["disks/"+filepath.Base(file)] {
			left = append(left, file)
		}
	}
	return left, nil
}
