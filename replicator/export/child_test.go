package export

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// child finds a program that this process has started by a part of its command line.
func child(t *testing.T, mark string) (pid int, line string) {
	t.Helper()
	names, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		b, _ := os.ReadFile(name) // it may just have ended
		line := strings.ReplaceAll(string(b), "\x00", " ")
		if !strings.Contains(line, mark) {
			continue
		}
		stat, _ := os.ReadFile(filepath.Dir(name) + "/stat")
		_, after, _ := strings.Cut(string(stat), ") ")
		var state string
		var pid, parent int
		if _, err := fmt.Sscan(after, &state, &parent); err != nil || parent != os.Getpid() {
			continue
		}
		if _, err := fmt.Sscan(string(stat), &pid); err != nil {
			t.Fatal(err)
		}
		return pid, line
	}
	t.Fatalf("nothing runs with %q", mark)
	return 0, ""
}

// signal signals such a program.
func signal(t *testing.T, mark string, sig syscall.Signal) {
	t.Helper()
	pid, _ := child(t, mark)
	if err := syscall.Kill(pid, sig); err != nil {
		t.Fatal(err)
	}
}
