package packages

import (
	"context"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vmsync/internal/api"
	"vmsync/internal/store"
	"vmsync/tests/lab"
)

const (
	mib       = int64(1) << 20
	storeDir  = "/var/lib/vmsync"
	fromHosta = "--source-uri qemu+ssh://root@hosta/system"
)

// on runs a shell command on a host, which must succeed, and returns all that it printed.
func on(t *testing.T, h *lab.Host, command string) string {
	t.Helper()
	out, err := try(t.Context(), h, command)
	if err != nil {
		t.Fatalf("%s: %s: %v\n%s", h.Name(), command, err, out)
	}
	return out
}

func try(ctx context.Context, h *lab.Host, command string) (string, error) {
	out, err := h.Run(ctx, "sh", "-c", "exec 2>&1; "+command)
	return strings.TrimSpace(out), err
}

// afterwards runs a shell command on a host when the test has ended, which must succeed.
func afterwards(t *testing.T, h *lab.Host, command string) {
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if out, err := try(ctx, h, command); err != nil {
			t.Errorf("%s: %s: %v\n%s", h.Name(), command, err, out)
		}
	})
}

// says checks what a shell command prints.
func says(t *testing.T, h *lab.Host, command, want string) {
	t.Helper()
	if out, _ := try(t.Context(), h, command); out != want {
		t.Errorf("%s: %s: %q, want %q", h.Name(), command, out, want)
	}
}

// bring copies a package to a host and returns where it is.
func bring(t *testing.T, h *lab.Host, name string) string {
	t.Helper()
	to := "/root/" + name
	if err := h.CopyIn(filepath.Join(built, name), to); err != nil {
		t.Fatal(err)
	}
	return to
}

// install installs the Debian package, until the test ends.
func install(t *testing.T, h *lab.Host, version string) {
	t.Helper()
	afterwards(t, h, "dpkg -P vmsync")
	t.Log(on(t, h, "dpkg -i "+bring(t, h, deb(version))))
}

// upgradeTo installs another version of the package.
func upgradeTo(t *testing.T, h *lab.Host, version string) {
	t.Helper()
	t.Log(on(t, h, "dpkg -i "+bring(t, h, deb(version))))
}

func put(t *testing.T, h *lab.Host, path, text string) {
	t.Helper()
	if err := h.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; {
		began := time.Now()
		switch {
		case f():
			return
		case began.After(deadline):
			t.Fatalf("never happened: %s", what)
		}
		time.Sleep(max(100*time.Millisecond, 3*time.Since(began)))
	}
}

// machine makes a machine on hosta, paused, with a disk vda.
func machine(t *testing.T, name string) *lab.Machine {
	t.Helper()
	m, err := hosta.CreateMachine(t.Context(), lab.MachineSpec{Name: name, Disks: []lab.DiskSpec{{Target: "vda", Size: 64 * mib}}})
	if err != nil {
		t.Fatal(err)
	}
	forget(t, m)
	dirty(t, m, 0, 4*mib, 1)
	return m
}

// forget removes a machine and its replica at the end of the test.
func forget(t *testing.T, m *lab.Machine) {
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		for _, h := range []*lab.Host{hosta, hostb} {
			if err := h.Machine(m.Name()).Remove(ctx); err != nil {
				t.Error(err)
			}
		}
		if out, err := hostb.Run(ctx, "rm", "-rf", storeDir+"/"+m.Name()); err != nil {
			t.Error(out, err)
		}
	})
}

func dirty(t *testing.T, m *lab.Machine, offset, length int64, pattern int) {
	t.Helper()
	if err := m.Dirty(t.Context(), "vda", offset, length, pattern); err != nil {
		t.Fatal(err)
	}
}

// standing is how the service says that a machine stands; no name where it says nothing.
func standing(t *testing.T, name string) (m api.Machine) {
	t.Helper()
	// It exits 1 while a replica is older than promised.
	out, _ := hostb.Run(t.Context(), "vmsync", "status", "--json", name)
	if err := json.Unmarshal([]byte(out), &m); err != nil {
		return api.Machine{}
	}
	return m
}

// fresh waits until the service has a replica of what the machine is now.
func fresh(t *testing.T, m *lab.Machine) {
	t.Helper()
	from := time.Now()
	eventually(t, m.Name()+" is replicated", func() bool {
		s := standing(t, m.Name())
		return s.Name != "" && s.Fresh.After(from) && s.Failures == 0
	})
	sameAsSource(t, m)
}

// states are how many states a replica has.
func states(t *testing.T, name string) int {
	t.Helper()
	b, err := hostb.ReadFile(storeDir + "/" + name + "/manifest.json")
	if err != nil {
		return 0
	}
	m := &store.Manifest{}
	if err := json.Unmarshal(b, m); err != nil {
		t.Fatal(err)
	}
	return len(m.States)
}

// sameAsSource checks that a replica reads, byte for byte, as the machine does.
func sameAsSource(t *testing.T, m *lab.Machine) {
	t.Helper()
	source, err := m.DiskPath(t.Context(), "vda")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.QemuIO(t.Context(), "vda", "flush"); err != nil {
		t.Fatal(err)
	}
	b, err := hostb.ReadFile(storeDir + "/" + m.Name() + "/manifest.json")
	if err != nil {
		t.Fatal(err)
	}
	manifest := &store.Manifest{}
	if err := json.Unmarshal(b, manifest); err != nil {
		t.Fatal(err)
	}
	image := hostb.Path(storeDir + "/" + m.Name() + "/" + manifest.Head().Disks[0].Image)
	out, err := exec.CommandContext(t.Context(), "qemu-img", "compare", "-U", hosta.Path(source), image).CombinedOutput()
	if err != nil {
		t.Errorf("%s: %v: %s", m.Name(), err, out)
	}
}

// replicas are the sums and names of all files of the store.
func replicas(t *testing.T) string {
	t.Helper()
	return on(t, hostb, "cd "+storeDir+" && find . -type f -exec sha256sum {} + | sort -k 2")
}

// show is a property of a unit of hostb.
func show(t *testing.T, property, unit string) string {
	t.Helper()
	out, err := hostb.Run(t.Context(), "systemctl", "show", "--value", "-p", property, "--", unit)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out)
}
