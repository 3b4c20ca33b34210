package source

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"vmsync/internal/domainxml"
	"vmsync/internal/libvirt"
	"vmsync/replicator"
)

// What a machine has beside its disks: its UEFI variables and its TPM. No checkpoint
// holds them. They are read right after the guest was thawed, when they are what
// they were at the checkpoint unless the guest's firmware wrote in that moment; both
// files are kept such that they are whole at any time. A freeze would not hold the
// firmware up, and reading may take as long as a slow file system takes.

// swtpmDir has a folder for each domain with an emulated TPM, by its UUID.
const swtpmDir = "/var/lib/libvirt/swtpm"

const (
	// stillTries is how often a file is read anew that changed meanwhile.
	stillTries = 5
	stillPause = 50 * time.Millisecond
)

// lookAtFirmware reads the UEFI variables and the TPM's state. What cannot be read is
// no reason not to copy the disks: it is named in the warnings.
func (e *End) lookAtFirmware(ctx context.Context, began *replicator.Begun) error {
	text, err := e.dom.XML(ctx, libvirt.Live)
	if err != nil {
		return err
	}
	doc, err := domainxml.Parse(text)
	if err != nil {
		return err
	}
	missing := func(what string, err error) {
		began.Warnings = append(began.Warnings, fmt.Sprintf("domain %s: the %s not replicated: %v", e.dom.Name, what, err))
	}
	if doc.HasNVRAM() {
		const what = "UEFI variables are"
		nvram, err := readNVRAM(doc.NVRAM())
		if err == nil {
			err = replicator.Packed(nvram).Portable()
		}
		if err != nil {
			missing(what, err)
		} else {
			began.NVRAM = nvram
		}
	}
	if tpm, ok := doc.TPM(); ok {
		const what = "state of the TPM is"
		state, err := readTPM(tpm, filepath.Join(swtpmDir, e.dom.UUID))
		if err == nil {
			err = state.Portable()
		}
		if err != nil {
			missing(what, err)
			return nil
		}
		began.TPM = state
		if tpm.Secret != "" {
			began.Warnings = append(began.Warnings, fmt.Sprintf("domain %s: the state of the TPM is encrypted: the replica can use it only where libvirt has the secret %s", e.dom.Name, tpm.Secret))
		}
	}
	return nil
}

// readNVRAM reads the file with the UEFI variables.
func readNVRAM(path string) ([]byte, error) {
	if path == "" {
		return nil, errors.New("they are not in a file of this host")
	}
	b, err := readStill(path, replicator.MaxNVRAM)
	if err != nil {
		return nil, err
	}
	if len(b) == 0 {
		return nil, fmt.Errorf("%s is empty", path)
	}
	if bytes.HasPrefix(b, []byte("QFI\xfb")) && len(b) >= 16 && binary.BigEndian.Uint64(b[8:]) != 0 {
		return nil, fmt.Errorf("%s is an image on top of another", path)
	}
	return b, nil
}

// readTPM reads what an emulated TPM keeps in libvirt's folder for its domain.
func readTPM(tpm domainxml.TPM, dir string) (replicator.Packed, error) {
	if tpm.Backend != "emulator" {
		return nil, fmt.Errorf("it is kept elsewhere (backend %q)", tpm.Backend)
	}
	if tpm.Source {
		return nil, errors.New("it is kept at a place of its own, not in " + swtpmDir)
	}
	name := "tpm2"
	if tpm.Version == "1.2" {
		name = "tpm1.2"
	}
	entries, err := os.ReadDir(filepath.Join(dir, name))
	if err != nil {
		return nil, err
	}
	var files []replicator.TPMFile
	room := int64(replicator.MaxTPM)
	for _, entry := range entries {
		// A new version has the name "TMP2-…" until it is whole.
		if !replicator.TPMFileName(entry.Name()) || strings.HasPrefix(entry.Name(), "TMP") || !entry.Type().IsRegular() {
			continue
		}
		data, err := readStill(filepath.Join(dir, name, entry.Name()), room)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		room -= int64(len(data))
		files = append(files, replicator.TPMFile{Name: name + "/" + entry.Name(), Data: data})
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s holds none", filepath.Join(dir, name))
	}
	slices.SortFunc(files, func(a, b replicator.TPMFile) int { return strings.Compare(a.Name, b.Name) })
	return replicator.PackTPM(files)
}

// readStill reads a regular file of at most so many bytes, again while it changes.
//
// The file belongs to qemu's or the TPM's user, whom a guest may have taken over: a
// symbolic link, which could lead to any file of this host, is not followed.
func readStill(path string, most int64) ([]byte, error) {
	for try := 1; ; try++ {
		b, still, err := readOnce(path, most)
		if err != nil || still {
			return b, err
		}
		if try == stillTries {
			return nil, fmt.Errorf("%s changes all the time", path)
		}
		time.Sleep(stillPause)
	}
}

func readOnce(path string, most int64) (b []byte, still bool, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ELOOP) {
		return nil, false, fmt.Errorf("%s is a symbolic link", path)
	}
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
	before, err := f.Stat()
	if err != nil {
		return nil, false, err
	}
	if !before.Mode().IsRegular() {
		return nil, false, fmt.Errorf("%s is no regular file", path)
	}
	if before.Size() > most {
		return nil, false, fmt.Errorf("%s has %d bytes, more than %d", path, before.Size(), most)
	}
	b, err = io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, false, err
	}
	after, err := f.Stat()
	if err != nil {
		return nil, false, err
	}
	return b, int64(len(b)) == after.Size() && after.Size() == before.Size() && after.ModTime().Equal(before.ModTime()), nil
}
