package e2e

import (
	"os"
	"path"
	"testing"
	"time"

	"vmsync/tests/lab"
)

// faultFile is where the programs built with fault points read what to do.
const faultFile = "/run/vmsync-fault"

// withFault installs the programs with fault points on a host and arms one, and
// puts the ordinary ones back when the test ends. See internal/faultpoint.
func withFault(t *testing.T, h *lab.Host, fault string) {
	t.Helper()
	install(t, h, "faultpoints")
	if err := h.WriteFile(faultFile, []byte(fault), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { withoutFault(t, h) })
}

// withoutFault puts the ordinary programs back.
func withoutFault(t *testing.T, h *lab.Host) {
	t.Helper()
	ctx, cancel := cleanupContext()
	defer cancel()
	if !h.Running() {
		t.Fatalf("%s is down", h.Name())
	}
	if _, err := h.Run(ctx, "rm", "-f", faultFile); err != nil {
		t.Error(err)
	}
	install(t, h, ".")
}

func install(t *testing.T, h *lab.Host, from string) {
	t.Helper()
	for _, p := range []string{"vmsync", "vmsync-nbd"} {
		if err := h.CopyIn(built(path.Join(from, p)), binDir+p); err != nil {
			t.Fatal(err)
		}
	}
}

// eventually waits until f is true.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for {
		began := time.Now()
		switch {
		case f():
			return
		case began.After(deadline):
			t.Fatalf("never happened: %s", what)
		}
		// Looking may take a program: it is not to take the processor from what is waited for.
		time.Sleep(max(20*time.Millisecond, 3*time.Since(began)))
	}
}

// exists tells whether a host has a file.
func exists(t *testing.T, h *lab.Host, name string) bool {
	t.Helper()
	_, err := os.Stat(h.Path(name))
	return err == nil
}
