package fusefs

import (
	"golang.org/x/sys/unix"

	"vmsync/fusefs/device"
	"vmsync/fusefs/filesystem"
	"vmsync/internal/store"
)

// Names in a state's folder.
const (
	stateJSONName = "state.json"
	domainXMLName = "domain.xml"
	nvramName     = "nvram.fd"
	tpmName       = "tpm.tar"
	disksName     = "disks"
	filesName     = "files"
)

// stateDir is one state.
type stateDir struct {
	place
	replica *replica
	state   *store.State
}

func newStateDir(r *replica, s *store.State) *stateDir {
	return &stateDir{place{path: r.domain + "/" + statesName + "/" + s.ID, mtime: s.Time}, r, s}
}

func (d *stateDir) attr() (filesystem.Attr, error) { return d.attributes(unix.S_IFDIR, 0), nil }

// kept are the files that the store keeps of a state, by their names in its folder.
func (d *stateDir) kept() []struct{ name, file string } {
	return []struct{ name, file string }{{domainXMLName, d.state.DomainXML}, {nvramName, d.state.NVRAM}, {tpmName, d.state.TPM}}
}

func (d *stateDir) list() ([]filesystem.Entry, error) {
	entries := []filesystem.Entry{folderEntry(disksName), folderEntry(filesName), fileEntry(stateJSONName)}
	for _, k := range d.kept() {
		if k.file != "" {
			entries = append(entries, fileEntry(k.name))
		}
	}
	return entries, nil
}

func (d *stateDir) lookup(name string) (any, error) {
	// That it is still there is asked at each step into it: what is below may be remembered.
	s, _, err := d.replica.state(d.state.ID)
	if err != nil {
		return nil, err
	}
	at := place{path: d.path + "/" + name, mtime: d.mtime}
	switch name {
	case stateJSONName:
		return &textNode{at, func() ([]byte, error) { return d.replica.describe(d.state.ID) }}, nil
	case disksName:
		return &disksDir{at, d.session(s)}, nil
	case filesName:
		return &filesDir{at, d.session(s)}, nil
	}
	for _, k := range d.kept() {
		if k.name == name && k.file != "" {
			at.still = true
			return &keptNode{at, d.replica.path(k.file)}, nil
		}
	}
	return nil, filesystem.ErrNotExist
}

func (d *stateDir) session(s *store.State) *session {
	return d.replica.tree.sessions.of(d.replica, s.ID, s.Generation)
}

// keptNode is a file of the store as it is: no other is ever made under its name, and who
// has it open can go on with it when it is deleted.
type keptNode struct {
	place
	file string
}

func (k *keptNode) secret() bool { return true }

func (k *keptNode) attr() (filesystem.Attr, error) {
	var st unix.Stat_t
	if err := unix.Stat(k.file, &st); err != nil {
		return filesystem.Attr{}, err
	}
	return k.attributes(unix.S_IFREG, st.Size), nil
}

func (k *keptNode) open() (content, error) { return device.OpenFile(k.file) }
