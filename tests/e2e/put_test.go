package e2e

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"vmsync/tests/lab"
)

// putDisk makes a machine's disk, which runs, read as the raw image in a file. before is
// what it read as until now; empty for zeros.
func putDisk(t *testing.T, m *lab.Machine, disk, image, before string) {
	t.Helper()
	changes := differences(t, image, before)
	var commands []lab.DiskCommand
	for i, c := range changes {
		file := fmt.Sprintf("/var/tmp/put-%d", i)
		if err := m.Host().WriteFile(file, c.data, 0o644); err != nil {
			t.Fatal(err)
		}
		defer os.Remove(m.Host().Path(file))
		commands = append(commands, lab.DiskCommand{Target: disk, Command: fmt.Sprintf("write -q -s %s %d %d", file, c.offset, len(c.data))})
	}
	commands = append(commands, lab.DiskCommand{Target: disk, Command: "flush"})
	if _, err := m.QemuIOBatch(t.Context(), commands); err != nil {
		t.Fatal(err)
	}
}

type change struct {
	offset int64
	data   []byte
}

// differences lists where two images of one size differ.
func differences(t *testing.T, image, before string) (changes []change) {
	t.Helper()
	const step, most = 64 << 10, 8 << 20
	now, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer now.Close()
	var old *os.File
	if before != "" {
		if old, err = os.Open(before); err != nil {
			t.Fatal(err)
		}
		defer old.Close()
	}
	a, b := make([]byte, step), make([]byte, step)
	for off := int64(0); ; off += step {
		n, err := now.ReadAt(a, off)
		if n == 0 && err == io.EOF {
			return changes
		}
		if old == nil {
			clear(b)
		} else if k, oldErr := old.ReadAt(b[:n], off); k != n {
			t.Fatalf("%s: %d bytes at %d: %v", before, k, off, oldErr)
		}
		if bytes.Equal(a[:n], b[:n]) {
			continue
		}
		if k := len(changes) - 1; k >= 0 && changes[k].offset+int64(len(changes[k].data)) == off && len(changes[k].data) < most {
			changes[k].data = append(changes[k].data, a[:n]...)
		} else {
			changes = append(changes, change{off, bytes.Clone(a[:n])})
		}
	}
}

// rawFile makes a sparse file.
func rawFile(t *testing.T, name string, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	return path
}
