// Package acl lets named users into a folder besides its owner, with POSIX access control
// lists, see acl(5).
//
// It must never let in anybody else: what it sets is the whole list.
package acl

import (
	"encoding/binary"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// The form of a list in an extended attribute, from linux/posix_acl_xattr.h: a version,
// then entries of tag, permissions and id, in the order of tags and ids.
const (
	version = 2
	noID    = 0xffffffff

	tagOwner = 0x01
	tagUser  = 0x02
	tagGroup = 0x04
	tagMask  = 0x10
	tagOther = 0x20

	all = 7 // read, write, search

	attrAccess  = "system.posix_acl_access"
	attrDefault = "system.posix_acl_default"
)

// Open lets these users (by number) do in a folder what its owner may, who must be the
// caller, and nobody else anything.
func Open(dir string, users ...int) error { return set(dir, attrAccess, users) }

// Bequeath has what is made in a folder from then on be open to these users (by number) as
// to its owner, as far as the one who makes it lets its group do that.
func Bequeath(dir string, users ...int) error { return set(dir, attrDefault, users) }

func set(dir, attr string, users []int) error {
	if err := unix.Setxattr(dir, attr, encode(users), 0); err != nil {
		return fmt.Errorf("let users into a folder: %w", &os.PathError{Op: "setxattr " + attr, Path: dir, Err: err})
	}
	return nil
}

func encode(users []int) []byte {
	users = slices.Compact(slices.Sorted(slices.Values(users)))
	list := binary.LittleEndian.AppendUint32(nil, version)
	add := func(tag, permissions uint16, id uint32) {
		list = binary.LittleEndian.AppendUint16(list, tag)
		list = binary.LittleEndian.AppendUint16(list, permissions)
		list = binary.LittleEndian.AppendUint32(list, id)
	}
	add(tagOwner, all, noID)
	for _, u := range users {
		add(tagUser, all, uint32(u))
	}
	add(tagGroup, 0, noID)
	if len(users) > 0 {
		add(tagMask, all, noID)
	}
	add(tagOther, 0, noID)
	return list
}
