package lab_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vmsync/tests/lab"
)

func create(t *testing.T, h *lab.Host, spec lab.MachineSpec) *lab.Machine {
	t.Helper()
	m, err := h.CreateMachine(t.Context(), spec)
	t.Cleanup(func() {
		if err := h.Machine(spec.Name).Remove(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// TestDirtiedRangesAreInTheNextIncrementalBackup takes libvirt's own word for
// what Dirty changed: a checkpoint, then an incremental backup's dirty bitmap.
func TestDirtiedRangesAreInTheNextIncrementalBackup(t *testing.T) {
	a := host(t, "hosta")
	m := create(t, a, lab.MachineSpec{Name: "paused", Disks: []lab.DiskSpec{
		{Target: "vda", Size: 16 << 20}, {Target: "sda", Size: 16 << 20},
	}})
	if state := must[string](t)(m.State(t.Context())); state != "paused" {
		t.Fatalf("the machine is %s", state)
	}
	run(t, a, "virsh", "checkpoint-create-as", "paused", "cp1")
	for _, d := range []struct {
		target         string
		offset, length int64
		pattern        int
	}{
		{"vda", 1 << 20, 128 << 10, 0xab},
		{"vda", 4 << 20, 64 << 10, lab.Zero},
		{"sda", 8 << 20, 192 << 10, 0x11},
		{"sda", 8 << 20, 64 << 10, lab.Discard},
	} {
		if err := m.Dirty(t.Context(), d.target, d.offset, d.length, d.pattern); err != nil {
			t.Fatal(err)
		}
	}
	backup := "<domainbackup mode='pull'><incremental>cp1</incremental>" +
		"<server transport='unix' socket='/var/lib/libvirt/qemu/lab-test.sock'/></domainbackup>"
	if err := a.WriteFile("/run/backup.xml", []byte(backup), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, a, "virsh", "backup-begin", "paused", "/run/backup.xml")
	defer run(t, a, "virsh", "domjobabort", "paused")
	for target, want := range map[string]string{
		"vda": "1048576 131072; 4194304 65536;", "sda": "8388608 196608;",
	} {
		out := run(t, a, "nbdinfo", "--map=qemu:dirty-bitmap:backup-"+target,
			"nbd+unix:///"+target+"?socket=/var/lib/libvirt/qemu/lab-test.sock")
		var got string
		for line := range strings.Lines(out) {
			if f := strings.Fields(line); f[2] == "1" {
				got += f[0] + " " + f[1] + "; "
			}
		}
		if strings.TrimSpace(got) != want {
			t.Errorf("disk %s: dirty ranges %q, want %q", target, got, want)
		}
	}
}

// A qcow2 that was written but not flushed loses the write with its qemu.
func TestDirtiedBytesAreInTheImageAfterACrash(t *testing.T) {
	b := host(t, "hostb")
	m := create(t, b, lab.MachineSpec{Name: "bytes", Disks: []lab.DiskSpec{{Target: "vda", Size: 4 << 20}}})
	if err := m.Dirty(t.Context(), "vda", 1<<20, 4096, 0xcd); err != nil {
		t.Fatal(err)
	}
	path := must[string](t)(m.DiskPath(t.Context(), "vda"))
	if err := b.Crash(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := b.Boot(t.Context()); err != nil {
		t.Fatal(err)
	}
	run(t, b, "qemu-img", "convert", "-O", "raw", path, "/run/bytes.raw")
	image := must[[]byte](t)(b.ReadFile("/run/bytes.raw"))
	want := make([]byte, 4<<20)
	for i := range 4096 {
		want[1<<20+i] = 0xcd
	}
	if !bytes.Equal(image, want) {
		t.Error("the image does not have the bytes that were written")
	}
}

func TestFailedQemuIOIsAnError(t *testing.T) {
	m := create(t, host(t, "hosta"), lab.MachineSpec{Name: "fail", Disks: []lab.DiskSpec{{Target: "vda", Size: 1 << 20}}})
	for _, c := range []string{"read -P 0x77 0 64k", "write -P 1 1G 64k", "nonsense"} {
		if out, err := m.QemuIO(t.Context(), "vda", c); err == nil {
			t.Errorf("%s: no error; output %q", c, out)
		}
	}
	if out, err := m.QemuIO(t.Context(), "vda", "read -P 0 0 64k"); err != nil {
		t.Errorf("%v; output %q", err, out)
	}
}

// TestGuest is one test in several steps, since a guest takes seconds to boot.
func TestGuest(t *testing.T) {
	ctx := t.Context()
	a := host(t, "hosta")
	m := create(t, a, lab.MachineSpec{Name: "guest", Guest: true, Disks: []lab.DiskSpec{
		{Target: "vda", Size: 256 << 20}, {Target: "vdb", Size: 64 << 20},
	}})
	t.Run("writes files to its disks", func(t *testing.T) {
		must[string](t)(m.Guest(ctx, "sh", "-c", "echo hello >/mnt/vdb/file && sync"))
		if got := must[string](t)(m.Guest(ctx, "cat", "/mnt/vdb/file")); got != "hello\n" {
			t.Errorf("file has %q", got)
		}
		if got := run(t, a, "virsh", "-q", "domfsinfo", "guest"); !strings.Contains(got, "/mnt/vda") || !strings.Contains(got, "vdb") {
			t.Errorf("file systems: %s", got)
		}
	})
	t.Run("passes on exit status and stderr", func(t *testing.T) {
		_, err := m.Guest(ctx, "sh", "-c", "echo bad >&2; exit 3")
		var ge *lab.GuestError
		if !errors.As(err, &ge) || ge.ExitCode != 3 || ge.Stderr != "bad\n" {
			t.Errorf("error %v", err)
		}
	})
	t.Run("gives freed blocks back by fstrim", func(t *testing.T) {
		must[string](t)(m.Guest(ctx, "sh", "-c", "dd if=/dev/urandom of=/mnt/vda/big bs=1M count=32 2>&1 && sync"))
		path := a.Path(filepath.Join(lab.ImageDir, "guest-vda.qcow2"))
		before := allocated(t, path)
		must[string](t)(m.Guest(ctx, "sh", "-c", "rm /mnt/vda/big && sync && fstrim /mnt/vda"))
		if after := allocated(t, path); after > before-(24<<20) {
			t.Errorf("image has %d bytes allocated, %d before deleting 32 MiB", after, before)
		}
	})
	t.Run("answers by the control channel while frozen", func(t *testing.T) {
		run(t, a, "virsh", "domfsfreeze", "guest")
		if _, err := m.Guest(ctx, "true"); err == nil {
			t.Error("the agent works though frozen")
		}
		got, err := m.Control(ctx, "echo frozen and alive")
		run(t, a, "virsh", "domfsthaw", "guest")
		if err != nil || got != "frozen and alive\n" {
			t.Errorf("got %q, %v", got, err)
		}
	})
	t.Run("agent hangs and goes on", func(t *testing.T) {
		if err := m.AgentStop(ctx); err != nil {
			t.Fatal(err)
		}
		_, err := a.Run(ctx, "virsh", "qemu-agent-command", "guest", "--timeout", "1", `{"execute":"guest-ping"}`)
		if err == nil {
			t.Error("a stopped agent answers")
		}
		if err := m.AgentCont(ctx); err != nil {
			t.Fatal(err)
		}
		if err := m.WaitAgent(ctx); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("agent dies and is started again", func(t *testing.T) {
		if err := m.AgentKill(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := m.Guest(ctx, "true"); err == nil {
			t.Error("a dead agent answers")
		}
		if err := m.AgentStart(ctx); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("takes and gives back a disk while it runs", func(t *testing.T) {
		if err := m.AttachDisk(ctx, lab.DiskSpec{Target: "vdc", Size: 64 << 20}); err != nil {
			t.Fatal(err)
		}
		must[string](t)(m.Guest(ctx, "sh", "-c", "grep -q '^/dev/vdc /mnt/vdc ext4' /proc/mounts && touch /mnt/vdc/x"))
		if err := m.DetachDisk(ctx, "vdc"); err != nil {
			t.Fatal(err)
		}
		if _, err := m.DiskPath(ctx, "vdc"); err == nil {
			t.Error("the disk is still there")
		}
	})
	t.Run("keeps its files over shutdown and start", func(t *testing.T) {
		if err := m.Shutdown(ctx); err != nil {
			t.Fatal(err)
		}
		if err := m.Start(ctx); err != nil {
			t.Fatal(err)
		}
		if got := must[string](t)(m.Control(ctx, "cat /mnt/vdb/file")); got != "hello\n" {
			t.Errorf("file has %q", got)
		}
	})
}

// allocated is how many bytes a file takes on the machine's disk.
func allocated(t *testing.T, path string) int64 {
	t.Helper()
	f := must[*os.File](t)(os.Open(path))
	defer f.Close()
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	st := must[os.FileInfo](t)(f.Stat())
	return sysBlocks(st) * 512
}

func TestXMLHookChangesTheDomain(t *testing.T) {
	m := create(t, host(t, "hosta"), lab.MachineSpec{
		Name:  "hook",
		Disks: []lab.DiskSpec{{Target: "vda", Size: 1 << 20, Serial: "LAB 1"}},
		XMLHook: func(doc string) string {
			return strings.Replace(doc, "<vcpu>1</vcpu>", "<vcpu>2</vcpu>", 1)
		},
	})
	doc := must[string](t)(m.XML(t.Context()))
	for _, want := range []string{"<serial>LAB 1</serial>", fmt.Sprintf(">%d</vcpu>", 2)} {
		if !strings.Contains(doc, want) {
			t.Errorf("no %s in %s", want, doc)
		}
	}
}

func TestABatchOfWritesIsAsManySingleOnes(t *testing.T) {
	m := create(t, host(t, "hosta"), lab.MachineSpec{Name: "batch", Disks: []lab.DiskSpec{{Target: "vda", Size: 64 << 20}, {Target: "sda", Size: 64 << 20}}})
	said, err := m.QemuIOBatch(t.Context(), []lab.DiskCommand{{"vda", "write -P 7 512 1k"}, {"sda", "write -z 1M 64k"}, {"vda", "read -P 7 512 1k"}, {"sda", "flush"}})
	if err != nil || len(said) != 4 || !strings.Contains(said[0], "wrote 1024/1024 bytes at offset 512") || !strings.Contains(said[1], "wrote 65536/65536 bytes at offset 1048576") {
		t.Fatalf("%v, %q", err, said)
	}
	if _, err = m.QemuIOBatch(t.Context(), []lab.DiskCommand{{"vda", "read -P 8 512 1k"}, {"vda", "flush"}}); err == nil {
		t.Error("a wrong pattern is no failure")
	}
	if _, err = m.QemuIOBatch(t.Context(), []lab.DiskCommand{{"vdz", "flush"}}); err == nil {
		t.Error("a disk that is not there is no failure")
	}
	// By a name that the lab would not give.
	const odd = `it's "a" $HOME ü`
	must[string](t)(m.Host().Run(t.Context(), "virsh", "destroy", m.Name()))
	must[string](t)(m.Host().Run(t.Context(), "virsh", "domrename", m.Name(), odd))
	t.Cleanup(func() { _ = m.Host().Machine(odd).Remove(context.Background()) })
	must[string](t)(m.Host().Run(t.Context(), "virsh", "start", "--paused", odd))
	if out, err := m.Host().Machine(odd).QemuIO(t.Context(), "vda", "read -P 7 512 1k"); err != nil {
		t.Errorf("of %s: %s, %v", odd, out, err)
	}
}
