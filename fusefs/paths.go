package fusefs

import (
	"strings"
	"sync"
)

// paths remembers under which names guests' files were found lately, for the log alone. It
// forgets the older half of what it knows when it is full.
type paths struct {
	mu         sync.Mutex
	young, old map[uint64]foundAt
}

type foundAt struct {
	parent uint64
	name   string
}

// maxPaths bounds each half.
const maxPaths = 16 << 10

func (p *paths) found(node, parent uint64, name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.young == nil || len(p.young) >= maxPaths {
		p.young, p.old = map[uint64]foundAt{}, p.young
	}
	p.young[node] = foundAt{parent, name}
}

// of gives what is known of a file's path, from its filesystem's root on.
func (p *paths) of(node uint64) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var names []string
	for range 256 {
		at, known := p.young[node]
		if !known {
			at, known = p.old[node]
		}
		if !known {
			names = append(names, "…")
			break
		}
		if at.parent == 0 {
			break // the root
		}
		names = append(names, at.name)
		node = at.parent
	}
	var b strings.Builder
	for i := len(names) - 1; i >= 0; i-- {
		b.WriteString("/" + names[i])
	}
	return b.String()
}
