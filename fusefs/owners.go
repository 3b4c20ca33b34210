package fusefs

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"vmsync/fusefs/filesystem"
)

// Owners say whose files are and what may be done with them. The zero value shows guests'
// files as the guests have them.
type Owners struct {
	UID, GID *uint32 // of everything, nil for what it is
	// Mode are the permissions of everything, nil for what they are. It is meant as in
	// chmod's X: files that nobody may execute are not executable with it either.
	// Nobody may write in any case.
	Mode *uint32
}

// ParseMode reads the value of a mode option: octal permissions, 0 to 777.
func ParseMode(text string) (uint32, error) {
	mode, err := strconv.ParseUint(text, 8, 32)
	if err != nil || mode > 0o777 {
		return 0, fmt.Errorf("mode %q: use octal permissions, such as 755", text)
	}
	return uint32(mode), nil
}

// changed says that guests' files are shown as something else than they are.
func (o *Owners) changed() bool { return o.UID != nil || o.GID != nil || o.Mode != nil }

// guest changes the attributes of a guest's file.
func (o *Owners) guest(a *filesystem.Attr) {
	if o.UID != nil {
		a.UID = *o.UID
	}
	if o.GID != nil {
		a.GID = *o.GID
	}
	if o.Mode != nil {
		allowed := *o.Mode
		if a.Mode&unix.S_IFMT != unix.S_IFDIR && a.Mode&0o111 == 0 {
			allowed &^= 0o111
		}
		a.Mode = a.Mode&unix.S_IFMT | allowed
	}
}

// store sets whose a node of the store's part is. Disks, domain XML and UEFI variables
// hold what the host's other users may not read in the store either.
func (o *Owners) store(a *filesystem.Attr, secret bool) {
	a.UID, a.GID = uint32(os.Geteuid()), uint32(os.Getegid())
	switch {
	case a.Mode == unix.S_IFDIR:
		a.Mode |= 0o555
	case a.Mode == unix.S_IFLNK:
		a.Mode |= 0o777
	case secret:
		a.Mode |= 0o400
	default:
		a.Mode |= 0o444
	}
	if a.Mode&unix.S_IFMT != unix.S_IFLNK {
		o.guest(a)
		a.Mode &^= 0o222
	}
}
