package e2e

import (
	"fmt"
	"net"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"vmsync/tests/lab"
)

const (
	kib = int64(1) << 10
	mib = int64(1) << 20
	gib = int64(1) << 30
)

// machine makes a guest-less machine on hosta with qcow2 disks, named after the
// test, and removes it and its replica afterwards.
func machine(t *testing.T, disks ...lab.DiskSpec) *lab.Machine {
	t.Helper()
	return makeMachine(t, lab.MachineSpec{Disks: disks})
}

// guest makes a live machine with a guest agent.
func guest(t *testing.T, disks ...lab.DiskSpec) *lab.Machine {
	t.Helper()
	return makeMachine(t, lab.MachineSpec{Disks: disks, Guest: true})
}

func makeMachine(t *testing.T, spec lab.MachineSpec) *lab.Machine {
	t.Helper()
	if spec.Name == "" {
		spec.Name = strings.ToLower(strings.NewReplacer("Test", "", "/", "-", "_", "-").Replace(t.Name()))
		spec.Name = spec.Name[:min(len(spec.Name), 40)]
	}
	m, err := hosta.CreateMachine(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := cleanupContext()
		defer cancel()
		if err := m.Remove(ctx); err != nil {
			t.Error(err)
		}
		removeReplica(t, spec.Name)
	})
	return m
}

// removeReplica takes a replica away from hostb, whatever became of it.
func removeReplica(t *testing.T, name string) {
	t.Helper()
	ctx, cancel := cleanupContext()
	defer cancel()
	if err := hostb.Machine(name).Remove(ctx); err != nil {
		t.Error(err)
	}
	if _, err := hostb.Run(ctx, "rm", "-rf", storeDir+"/"+name); err != nil {
		t.Error(err)
	}
}

func qcow2(target string, size int64) lab.DiskSpec { return lab.DiskSpec{Target: target, Size: size} }

// dirty changes a range of a machine's disk.
func dirty(t *testing.T, m *lab.Machine, disk string, offset, length int64, pattern int) {
	t.Helper()
	if err := m.Dirty(t.Context(), disk, offset, length, pattern); err != nil {
		t.Fatal(err)
	}
}

// sameAsSource checks that a replica's disks read, byte for byte, as the
// machine's do now. The machine must be at rest.
func sameAsSource(t *testing.T, m *lab.Machine, disks ...string) {
	t.Helper()
	for _, d := range disks {
		src, err := m.DiskPath(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.QemuIO(t.Context(), d, "flush"); err != nil {
			t.Fatal(err)
		}
		identical(t, "qcow2", m.Host().Path(src), topImage(t, m.Name(), d))
	}
}

// identical checks that two images read the same.
func identical(t *testing.T, format, a, b string) {
	t.Helper()
	if out, ok := compare(t, format, a, b); !ok {
		t.Fatalf("%s and %s differ: %s", a, b, out)
	}
}

// same tells whether two images read the same.
func same(t *testing.T, format, a, b string) bool {
	t.Helper()
	_, ok := compare(t, format, a, b)
	return ok
}

// compare compares two images by qemu's own means.
func compare(t *testing.T, format, a, b string) (said string, same bool) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "qemu-img", "compare", "-U", "-f", format, "-F", "qcow2", a, b)
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState.ExitCode() != 1 {
		t.Fatalf("compare %s and %s: %v\n%s", a, b, err, out)
	}
	return string(out), err == nil && !strings.Contains(string(out), "Warning") // it warns of different sizes
}

// onlyPlainImages checks that a replica is one plain qcow2 for each disk and that
// its folder holds nothing else.
func onlyPlainImages(t *testing.T, replica string) {
	t.Helper()
	m := manifest(t, replica)
	var want []string
	for _, d := range head(t, replica).Disks {
		if chain := m.Chain(d.Image); len(chain) != 1 {
			t.Errorf("disk %s is a chain: %v", d.Name, chain)
		}
		want = append(want, path.Base(d.Image))
	}
	got := listDir(t, hostb, storeDir+"/"+replica+"/disks")
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("images %v, want %v", got, want)
	}
	var run []string
	for _, r := range m.Run {
		run = append(run, path.Base(r.Image))
	}
	slices.Sort(run)
	if got := listDir(t, hostb, storeDir+"/"+replica+"/run"); !slices.Equal(got, run) {
		t.Errorf("run overlays %v, want %v", got, run)
	}
	if got := listDir(t, hostb, storeDir+"/"+replica+"/xml"); len(got) != 1 {
		t.Errorf("domain XML of %v", got)
	}
}

// onlyImage is the image of a replica that has but one.
func onlyImage(t *testing.T, h *lab.Host, folder string) string {
	t.Helper()
	held := listFiles(t, h, folder+"/disks")
	if len(held) != 1 {
		t.Fatalf("images %v", held)
	}
	return held[0]
}

func listDir(t *testing.T, h *lab.Host, dir string) []string {
	t.Helper()
	out, err := h.Run(t.Context(), "ls", "-A", dir)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(out)
}

// nothingLeft checks that no run left anything on either host but the replica and
// the one checkpoint it builds on.
func nothingLeft(t *testing.T, m *lab.Machine) {
	t.Helper()
	// A killed agent's guard, and libvirt after an abort, finish on their own.
	deadline := time.Now().Add(30 * time.Second)
	for {
		left := leftovers(t, m)
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("left behind: %s", strings.Join(left, "; "))
		}
		time.Sleep(200 * time.Millisecond)
	}
}

func leftovers(t *testing.T, m *lab.Machine) []string {
	t.Helper()
	left := litter(t, m)
	want := ""
	if mf := manifest(t, m.Name()); mf != nil && mf.Head() != nil {
		want = mf.Head().Checkpoint
	}
	if got := strings.Join(checkpoints(t, m), " "); got != want {
		left = append(left, fmt.Sprintf("checkpoints %q, want %q", got, want))
	}
	return left
}

// litter names what a run has left on either host but checkpoints.
func litter(t *testing.T, m *lab.Machine) []string {
	t.Helper()
	left := strayProcesses(t)
	for _, h := range []*lab.Host{hosta, hostb} {
		for _, pattern := range []string{"/run/vmsync/source/*", "/run/vmsync/target/*", "/run/vmsync/frozen/*", "/run/vmsync/pending/*", "/run/vmsync/export/*",
			"/var/tmp/vmsync-export-*",
			"/var/lib/libvirt/qemu/domain-*/vmsync*", lab.ImageDir + "/*.scratch",
			accountRun + "/source/*", accountRun + "/frozen/*", accountRun + "/pending/*", accountRun + "/export/*", accountState + "/scratch/*"} {
			names, err := filepath.Glob(h.Path(pattern))
			if err != nil {
				t.Fatal(err)
			}
			left = append(left, names...)
		}
	}
	if out, err := hosta.Run(t.Context(), "virsh", "domjobinfo", m.Name()); err == nil && !strings.Contains(out, "None") {
		left = append(left, "a job on "+m.Name()+": "+out)
	}
	return left
}

// strayProcesses names processes of vmsync that run on any host.
func strayProcesses(t *testing.T) []string {
	t.Helper()
	var left []string
	for _, h := range theLab.Hosts() {
		if !h.Running() {
			continue
		}
		// By the program's name: a machine's qemu may have any of these in its arguments.
		out, err := h.Run(t.Context(), "ps", "-e", "-o", "comm=")
		if err != nil {
			t.Fatal(err)
		}
		for program := range strings.Lines(out) {
			switch program = strings.TrimSpace(program); program {
			case "vmsync", "vmsync-nbd", "qemu-nbd", "qemu-img":
				left = append(left, program+" on "+h.Name())
			}
		}
	}
	return left
}

// checkpoints names the checkpoints of a machine.
func checkpoints(t *testing.T, m *lab.Machine) []string {
	t.Helper()
	out, err := m.Host().Run(t.Context(), "virsh", "checkpoint-list", "--name", m.Name())
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(out)
}

func num(n int64) string { return fmt.Sprint(n) }

// listFiles gives the paths on the machine of a host folder's files.
func listFiles(t *testing.T, h *lab.Host, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(h.Path(dir) + "/*")
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// copyOf copies what a disk of a machine at rest reads as, and returns the path
// of the raw copy on the machine that runs the tests.
func copyOf(t *testing.T, m *lab.Machine, disk string) string {
	t.Helper()
	src, err := m.DiskPath(t.Context(), disk)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.QemuIO(t.Context(), disk, "flush"); err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(t.TempDir(), disk+".raw")
	if out, err := exec.CommandContext(t.Context(), "qemu-img", "convert", "-U", "-f", "qcow2", "-O", "raw", m.Host().Path(src), copied).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return copied
}

// setLink shapes a host's link. It also works while a test is cleaned up.
func setLink(t *testing.T, h *lab.Host, l lab.Link) {
	t.Helper()
	ctx, cancel := cleanupContext()
	defer cancel()
	if err := h.SetLink(ctx, l); err != nil {
		t.Fatal(err)
	}
}

// plug plugs or unplugs a host's cable. A host that is plugged in can be reached: who
// asked for its address while it could not may be told so for a second longer.
func plug(t *testing.T, h *lab.Host, up bool) {
	t.Helper()
	ctx, cancel := cleanupContext()
	defer cancel()
	if err := h.Link(ctx, up); err != nil {
		t.Fatal(err)
	}
	for _, from := range []*lab.Host{hosta, hostb, op_} {
		for up && from != h && ctx.Err() == nil {
			c, err := from.Dial(ctx, "tcp", net.JoinHostPort(h.Addr(), "22"))
			if err == nil {
				c.Close()
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	if ctx.Err() != nil {
		t.Fatalf("%s is plugged in and cannot be reached", h.Name())
	}
}
