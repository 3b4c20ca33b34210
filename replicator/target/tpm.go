package target

import (
	"os"
	"path/filepath"

	"vmsync/internal/passable"
	"vmsync/replicator"
)

// swtpmDir is where libvirt keeps the state of emulated TPMs, in a folder for each
// domain's UUID.
const swtpmDir = "/var/lib/libvirt/swtpm"

// placeTPM puts the state's TPM, if it has one, where libvirt has the domain's emulator
// look for it. The domain is off. libvirt gives the files to the emulator's user when it
// starts.
func (t *Target) placeTPM(archive []byte) error {
	if archive == nil {
		return nil
	}
	return PlaceTPM(t.manifest.TargetUUID, archive)
}

// PlaceTPM puts an archive of a TPM's state where libvirt has the emulator of the domain
// with that UUID look for it.
func PlaceTPM(id string, archive []byte) error {
	files, err := replicator.ReadTPM(archive)
	if err != nil {
		return err
	}
	home := filepath.Join(swtpmDir, id)
	for _, f := range files {
		// What a started replica's emulator left is not to be mixed with this.
		if err := os.RemoveAll(filepath.Join(home, filepath.Dir(f.Name))); err != nil {
			return err
		}
	}
	for _, f := range files {
		path := filepath.Join(home, f.Name)
		if _, err := passable.MkdirAll(filepath.Dir(path)); err != nil {
			return err
		}
		if err := os.WriteFile(path, f.Data, 0o600); err != nil {
			return err
		}
	}
	return nil
}
