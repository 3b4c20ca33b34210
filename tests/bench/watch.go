package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"vmsync/tests/lab"
)

// watch looks at the memory of a host's processes while they run.
type watch struct {
	command string
	cancel  context.CancelFunc
	done    chan int64
}

// watch begins to look at the processes whose command line contains command.
func (b *bench) watch(h *lab.Host, command string) *watch {
	ctx, cancel := context.WithCancel(b.ctx)
	w := &watch{command: command, cancel: cancel, done: make(chan int64, 1)}
	go func() {
		var peak int64
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			pids, _ := h.Pids(ctx, command) // none, mostly
			for _, pid := range pids {
				peak = max(peak, peakMemory(h, pid))
			}
			select {
			case <-ctx.Done():
			case <-tick.C:
			}
		}
		w.done <- peak
	}()
	return w
}

// stop returns the most memory, in bytes, that any of the processes had resident
// at any time until it was last looked at.
func (w *watch) stop() (int64, error) {
	w.cancel()
	peak := <-w.done
	if peak == 0 {
		return 0, fmt.Errorf("no process %q was seen", w.command)
	}
	return peak, nil
}

// peakMemory is the VmHWM of a process, in bytes; 0 when it has ended.
func peakMemory(h *lab.Host, pid int) int64 {
	b, _ := h.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(v), " kB"), 10, 64)
			return kib << 10
		}
	}
	return 0
}
