package store

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Stamp tells one manifest of a replica from another without reading it: it is replaced
// whenever anything of the replica changes.
type Stamp struct {
	dev, ino    uint64
	size        int64
	changed     int64 // seconds
	changedNsec int64
}

// StampOf is the stamp of a replica's manifest now. A store without such a replica gives
// an error for which errors.Is(err, fs.ErrNotExist) holds.
func StampOf(storeDir, domain string) (Stamp, error) {
	if err := CheckDomainName(domain); err != nil {
		return Stamp{}, err
	}
	path := filepath.Join(storeDir, domain, ManifestName)
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return Stamp{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return Stamp{dev: st.Dev, ino: st.Ino, size: st.Size, changed: st.Ctim.Sec, changedNsec: st.Ctim.Nsec}, nil
}
