package fusefs

import (
	"sort"
	"strings"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"vmsync/fusefs/filesystem"
)

// aclPrefix begins the names under which the kernel asks for ACLs.
const aclPrefix = "system.posix_acl_"

func (t *tree) GetXAttr(_ <-chan struct{}, header *fuse.InHeader, name string, dest []byte) (size uint32, status fuse.Status) {
	if !isGuest(header.NodeId) || t.hidden(name, header.Uid) {
		return 0, fuse.ENOATTR
	}
	status = t.onGuest(header.NodeId, func(_ *guestFS, fsys filesystem.FS, id filesystem.ID) error {
		all, err := fsys.Xattrs(id)
		if err != nil {
			return err
		}
		value, known := all[name]
		if !known {
			return unix.ENODATA
		}
		size = uint32(len(value))
		return put(dest, value)
	})
	return size, status
}

func (t *tree) ListXAttr(_ <-chan struct{}, header *fuse.InHeader, dest []byte) (size uint32, status fuse.Status) {
	if !isGuest(header.NodeId) {
		return 0, fuse.OK
	}
	status = t.onGuest(header.NodeId, func(_ *guestFS, fsys filesystem.FS, id filesystem.ID) error {
		all, err := fsys.Xattrs(id)
		if err != nil {
			return err
		}
		names := make([]string, 0, len(all))
		for name := range all {
			if !t.hidden(name, header.Uid) {
				names = append(names, name+"\x00")
			}
		}
		sort.Strings(names)
		list := strings.Join(names, "")
		size = uint32(len(list))
		return put(dest, []byte(list))
	})
	return size, status
}

// put copies what was asked for, and says where there is not room for it.
func put(dest, value []byte) error {
	if len(value) > len(dest) {
		return unix.ERANGE
	}
	copy(dest, value)
	return nil
}

// hidden says which attributes are not shown: as on a filesystem of the kernel's, trusted
// ones to none but root, and ACLs where they would contradict the owners and modes that
// are shown.
func (t *tree) hidden(name string, uid uint32) bool {
	return strings.HasPrefix(name, "trusted.") && uid != 0 || strings.HasPrefix(name, aclPrefix) && t.options.Owners.changed()
}
