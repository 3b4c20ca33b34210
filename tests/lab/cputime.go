package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// CPUTime is the processor time, user and system, that the host's processes have
// used since it booted, those that have ended included. Commands started with
// [Host.Command] are not the host's in this respect: their time is in their
// ProcessState.
func (h *Host) CPUTime() (time.Duration, error) {
	roots, err := cgroupRoots()
	if err != nil {
		return 0, err
	}
	b, err := os.ReadFile(filepath.Join(roots[0], labCgroup(h.lab.name), h.name, "cpu.stat"))
	if err != nil {
		return 0, fmt.Errorf("processor time of host %s: %w", h.name, err)
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "usage_usec "); ok {
			usec, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
			return time.Duration(usec) * time.Microsecond, err
		}
	}
	return 0, fmt.Errorf("processor time of host %s: no usage_usec in cpu.stat", h.name)
}
