package fusefs

import (
	"errors"

	"golang.org/x/sys/unix"

	"vmsync/fusefs/filesystem"
)

// filesDir is the folder of what is on a state's disks: a folder for each partition,
// logical volume and disk without partitions.
type filesDir struct {
	place
	session *session
}

func (d *filesDir) attr() (filesystem.Attr, error) { return d.attributes(unix.S_IFDIR, 0), nil }

func (d *filesDir) list() ([]filesystem.Entry, error) {
	o, err := d.session.hold()
	if err != nil {
		return readmeEntries(err)
	}
	defer d.session.release()
	entries := make([]filesystem.Entry, len(o.volumes))
	for i, v := range o.volumes {
		entries[i] = folderEntry(v.name)
	}
	return entries, nil
}

func (d *filesDir) lookup(name string) (any, error) {
	o, err := d.session.hold()
	if err != nil {
		return readmeIn(d.place, d.session, name, err)
	}
	defer d.session.release()
	r := o.readers[name]
	if r == nil {
		return nil, filesystem.ErrNotExist
	}
	if _, err := r.filesystem(d.session.replica.tree.opener); err != nil {
		d.session.replica.tree.failures.unreadable(d.session, name, err)
		return &closedDir{place{path: d.path + "/" + name, mtime: d.mtime}, d.session, r.volume, err}, nil
	}
	return &guestRoot{d.session, name}, nil
}

// guestRoot is the root directory of a guest's filesystem.
type guestRoot struct {
	session *session
	volume  string
}

// closedDir stands for a volume whose files cannot be shown: a README says why.
type closedDir struct {
	place
	session *session
	volume  *foundVolume
	why     error
}

func (d *closedDir) attr() (filesystem.Attr, error) { return d.attributes(unix.S_IFDIR, 0), nil }

func (d *closedDir) list() ([]filesystem.Entry, error) {
	return []filesystem.Entry{fileEntry(readmeName)}, nil
}

func (d *closedDir) lookup(name string) (any, error) {
	if name != readmeName {
		return nil, filesystem.ErrNotExist
	}
	return &textNode{place{path: d.path + "/" + name, mtime: d.mtime}, func() ([]byte, error) {
		return volumeReadme(d.session, d.volume, d.why), nil
	}}, nil
}

// readmeEntries are the entries of a folder whose content cannot be shown at all.
func readmeEntries(err error) ([]filesystem.Entry, error) {
	if errors.Is(err, errGone) {
		return nil, err
	}
	return []filesystem.Entry{fileEntry(readmeName)}, nil
}

// readmeIn looks a name up in such a folder.
func readmeIn(at place, s *session, name string, why error) (any, error) {
	if name != readmeName {
		return nil, why
	}
	return &textNode{place{path: at.path + "/" + name, mtime: at.mtime}, func() ([]byte, error) {
		return stateReadme(s, why), nil
	}}, nil
}
