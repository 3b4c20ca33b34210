package fusefs

import "sync"

// handles are what somebody has open, by the numbers that the kernel has for it.
type handles struct {
	mu   sync.RWMutex
	open []any
	free []uint64
}

func (h *handles) add(what any) uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	if n := len(h.free); n > 0 {
		number := h.free[n-1]
		h.free = h.free[:n-1]
		h.open[number] = what
		return number
	}
	h.open = append(h.open, what)
	return uint64(len(h.open) - 1)
}

// get returns what has that number, nil if nothing has.
func (h *handles) get(number uint64) any {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if number >= uint64(len(h.open)) {
		return nil
	}
	return h.open[number]
}

func (h *handles) remove(number uint64) any {
	h.mu.Lock()
	defer h.mu.Unlock()
	if number >= uint64(len(h.open)) || h.open[number] == nil {
		return nil
	}
	what := h.open[number]
	h.open[number] = nil
	h.free = append(h.free, number)
	return what
}

func (h *handles) count() int {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return len(h.open) - len(h.free)
}
