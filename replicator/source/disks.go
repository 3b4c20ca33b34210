package source

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"vmsync/internal/domainxml"
)

// Header is what the first bytes of an image say.
type header struct {
	known   bool // they could be read
	qcow2   bool
	version uint32 // of qcow2
}

// readHeader reads an image's first 8 bytes: magic and version, both big endian
// (qemu's docs/interop/qcow2.txt). An image that this process may not read, as on a
// root-squashed share, is unknown.
func readHeader(path string) (header, error) {
	f, err := os.Open(path)
	if err != nil {
		return header{}, err
	}
	defer f.Close()
	var first [8]byte
	_, err = io.ReadFull(f, first[:])
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return header{known: true}, nil
	}
	if err != nil {
		return header{}, err
	}
	h := header{known: true, qcow2: string(first[:4]) == "QFI\xfb"}
	if h.qcow2 {
		h.version = binary.BigEndian.Uint32(first[4:])
	}
	return h, nil
}

// ignored says whether nobody expects the disk in a replica.
func ignored(d domainxml.Disk) bool { return d.Removable() || d.Device == "disk" && !d.HasSource }

// unfit says in words why a disk cannot be replicated, and what to do about it; ""
// if it can.
func unfit(d domainxml.Disk, h header) string {
	switch {
	case d.Device == "lun":
		return "it is a SCSI device that is passed through; use device='disk' with a qcow2 image"
	case d.Type != "file" && d.Type != "block":
		return fmt.Sprintf("its image is of type %s, not a file or block device of this host", d.Type)
	case d.Format != "qcow2":
		format := d.Format
		if format == "" {
			format = "of an unknown format"
		}
		return fmt.Sprintf("its image is %s: only qcow2 keeps track of changes; convert it with `qemu-img convert -O qcow2` while the domain is off", format)
	case d.ReadOnly:
		return "it is read-only: no bitmap can be kept in its image"
	case d.Shareable:
		return "other domains may write to it, which no bitmap of this one would see"
	case d.Transient:
		return "its changes are thrown away when the domain stops"
	case d.Encrypted:
		return "its image is encrypted by libvirt, and the replica would be in the clear; encrypt inside the guest instead"
	case d.DataFile:
		return "its image keeps its data in a second file"
	case h.known && !h.qcow2:
		return "its image does not start like a qcow2 image, although the domain's definition says that it is one"
	case h.known && h.version < 3:
		return "its image is qcow2 of version 2, which keeps no bitmaps: run `qemu-img amend -o compat=1.1` on it while the domain is off"
	}
	return ""
}
