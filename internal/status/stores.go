package status

import (
	"fmt"

	"vmsync/internal/api"
	"vmsync/internal/ui"
)

// Tight tells of the stores of whose filesystem less than a tenth is free, a line each:
// soon there will be no new states.
func Tight(stores []api.Store) (lines []ui.Line) {
	for _, s := range stores {
		if s.Avail < s.Size/10 {
			lines = append(lines, ui.Text(ui.Warn, fmt.Sprintf("%s has %s of %s left", s.Path, ui.Bytes(int64(s.Avail)), ui.Bytes(int64(s.Size)))))
		}
	}
	return lines
}
