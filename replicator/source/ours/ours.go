// Package ours knows what a run puts on the source host, by name, and how to end
// it: the run's lock, the marks of a frozen guest and of a pending checkpoint, the
// backup job with its socket and scratch files. The source end and its guard share it, and a later run uses it on
// what dead runs left.
//
// It must never end a job, remove a file or thaw a guest that is not vmsync's by its
// name. It keeps no state.
package ours

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"strings"

	"vmsync/internal/libvirt"
	"vmsync/replicator"
)

const (
	socketPrefix  = "vmsync-"
	socketSuffix  = ".sock"
	scratchSuffix = ".scratch"
	// blockScratchDir takes the scratch files of images that are block devices:
	// libvirt's own folder for images.
	blockScratchDir = "/var/lib/libvirt/images"
)

// SocketName is the file name of the socket that qemu's export of a pair listens on.
func SocketName(pair string) string { return socketPrefix + pair + socketSuffix }

// isSocket says whether a path is of such a socket, of whichever pair.
func isSocket(path string) bool {
	pair, ok := strings.CutPrefix(filepath.Base(path), socketPrefix)
	if !ok {
		return false
	}
	pair, ok = strings.CutSuffix(pair, socketSuffix)
	return ok && replicator.ValidPair(pair)
}

// Image is a disk's image, as far as its scratch file's place depends on it.
type Image struct {
	Path  string
	Block bool // a device
	// Scratch is the folder of scratch files; empty is beside the image, where there is
	// room for disks and qemu may write, or libvirt's folder of images for a block device.
	Scratch string
}

// ScratchFile is the path of a disk's scratch file.
func ScratchFile(image Image, checkpoint string) string {
	return image.scratchStem() + "." + checkpoint + scratchSuffix
}

func (i Image) scratchStem() string {
	switch {
	case i.Scratch != "":
		// Paths may be longer than names may be.
		sum := sha256.Sum256([]byte(i.Path))
		return filepath.Join(i.Scratch, "vmsync-"+hex.EncodeToString(sum[:16]))
	case i.Block:
		return filepath.Join(blockScratchDir, "vmsync-dev"+strings.ReplaceAll(i.Path, "/", "-"))
	}
	return i.Path
}

// scratchCheckpoint returns the checkpoint in a scratch file's name.
func scratchCheckpoint(path string) (string, bool) {
	rest, ok := strings.CutSuffix(path, scratchSuffix)
	if !ok {
		return "", false
	}
	i := strings.LastIndexByte(rest, '.')
	if i < 0 {
		return "", false
	}
	_, _, ok = replicator.ParseCheckpointName(rest[i+1:])
	return rest[i+1:], ok
}

// IsJob says whether a backup job was begun by vmsync, by any run.
func IsJob(b *libvirt.Backup) bool { return b != nil && isSocket(b.Socket) }

// IsJobOf says whether a backup job was begun for this checkpoint.
func IsJobOf(b *libvirt.Backup, checkpoint string) bool {
	if !IsJob(b) {
		return false
	}
	for _, disk := range b.Disks {
		if disk.Excluded {
			continue
		}
		if of, ok := scratchCheckpoint(disk.Scratch); !ok || of != checkpoint {
			return false
		}
	}
	return true
}

// maxSocketPath is what sun_path of a unix socket's address holds, with its NUL.
const maxSocketPath = 108

// CheckSocketPath says whether a path fits into a unix socket's address.
func CheckSocketPath(path string) error {
	if len(path) >= maxSocketPath {
		return fmt.Errorf("socket path %s is longer than %d bytes", path, maxSocketPath-1)
	}
	return nil
}
