package image

import (
	"fmt"
	"path/filepath"
	"strings"
)

// Formats of backing files, as the header extension names them.
const (
	formatQcow2 = "qcow2"
	formatRaw   = "raw"
)

// backingFile returns the name, within folder dir, of the file that an image lies over.
// Who writes a header could otherwise have any file read: a name leads nowhere else, and
// is none of a protocol.
func (h *header) backingFile(dir string) (string, error) {
	name := h.backing
	if filepath.IsAbs(name) && name == filepath.Join(dir, filepath.Base(name)) {
		name = filepath.Base(name)
	}
	switch {
	case strings.ContainsAny(name, "/\x00") || name == "." || name == "..":
		return "", fmt.Errorf("backing file %q is not in the image's folder: %w", h.backing, ErrUnsupported)
	case name == h.backing && strings.Contains(name, ":"):
		return "", fmt.Errorf("backing file %q is not a file's name: %w", h.backing, ErrUnsupported)
	}
	switch h.backingFormat {
	case formatQcow2, formatRaw:
		return name, nil
	case "":
		return "", fmt.Errorf("the format of backing file %q is not recorded, and guessing it would let a guest that writes "+
			"an image's header to its raw disk choose what is read; record it with qemu-img rebase -u -F: %w", h.backing, ErrUnsupported)
	}
	return "", fmt.Errorf("backing file %q is of format %q: %w", h.backing, h.backingFormat, ErrUnsupported)
}
