package fusefs

import (
	"errors"
	"fmt"
	"strings"

	"vmsync/fusefs/filesystem"
	"vmsync/fusefs/filesystem/probe"
)

// readmeName is the file that is shown where something else cannot be.
const readmeName = "README"

// errEncrypted is a volume that needs a key, and none was given or fits.
var errEncrypted = errors.New("encrypted")

// notFiles tells of volumes that hold no files of their own, by their kinds.
func notFiles(kind string) string {
	switch kind {
	case probe.Swap:
		return "It is swap space: there are no files in it."
	case probe.LVM:
		return "It is a physical volume of LVM. The logical volumes on it, if they are complete, are listed beside it under their own names."
	case probe.RAID:
		return "It is a member of a RAID array. The array, if it is a mirror, is listed beside it under a name of its own."
	}
	return ""
}

// volumeReadme says why a volume's files are not shown, and what works instead.
func volumeReadme(s *session, v *foundVolume, why error) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "The files of %s in state %s of %s are not shown.\n\n", v.name, s.state, s.replica.domain)
	if text := notFiles(v.kind); text != "" {
		fmt.Fprintln(&b, text)
		return []byte(b.String())
	}
	address := s.replica.domain + "@" + s.state
	switch {
	case errors.Is(why, errEncrypted):
		fmt.Fprintf(&b, "It is encrypted, and no key was given that opens it. Mount again with the key:\n\n    vmsync mount --key-file FILE …\n")
		return []byte(b.String())
	case errors.Is(why, filesystem.ErrNeedsReplay):
		fmt.Fprintf(&b, "It was in use when the state was taken, and its journal cannot be replayed here. What is in it without the\njournal may be out of date, so none of it is shown.\n")
	case errors.Is(why, filesystem.ErrUnknown):
		fmt.Fprintf(&b, "It holds no filesystem that vmsync knows.\n")
	case errors.Is(why, filesystem.ErrUnsupported):
		fmt.Fprintf(&b, "It uses something that vmsync cannot read.\n")
	case errors.Is(why, filesystem.ErrCorrupt):
		fmt.Fprintf(&b, "It is damaged.\n")
	default:
		fmt.Fprintf(&b, "It could not be read.\n")
	}
	fmt.Fprintf(&b, "\n    %v\n\nA system that knows it can read it: over a throw-away overlay, into which it may write,\n\n    vmsync export %s --writable …\n\nor from a copy:\n\n    vmsync restore %s --to DIR\n",
		why, address, address)
	if v.image != "" {
		fmt.Fprintf(&b, "\nIts bytes are in %s/%s%s.\n", disksName, v.image, rawSuffix)
	}
	return []byte(b.String())
}

// stateReadme says why nothing of a state's disks is shown.
func stateReadme(s *session, why error) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "The disks of state %s of %s are not shown.\n\n    %v\n\n", s.state, s.replica.domain, why)
	if errors.Is(why, errDamaged) {
		fmt.Fprintf(&b, "A verification found that they do not read as they were received. Use another state; this one can be deleted:\n\n    vmsync states delete %s@%s\n",
			s.replica.domain, s.state)
	} else {
		fmt.Fprintf(&b, "This says more:\n\n    vmsync verify %s@%s\n", s.replica.domain, s.state)
	}
	return []byte(b.String())
}
