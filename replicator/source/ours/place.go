package ours

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"strconv"
	"syscall"

	"vmsync/replicator"
)

const (
	// RunDir is root's folder of everything that need not survive a boot.
	RunDir = "/run/vmsync"
	// AccountRunDir is that of an account other than root's. It is there only on hosts
	// where such an account is the one that replicates, to whom it belongs.
	AccountRunDir = "/run/vmsync-source"
	// AccountScratchDir takes the scratch files of that account, which may not write beside
	// images.
	AccountScratchDir = "/var/lib/vmsync-source/scratch"
)

// Place is where a run puts what it needs on the source host.
type Place struct {
	RunDir string
	// Scratch is the folder of scratch files; empty is beside each image.
	Scratch string
	// Account says that the user is not root: libvirt's own folders are closed to it.
	Account bool
}

// Here is the place of this process's user. Domains are locked by files there, so that on
// one host one user alone may replicate: for any other it is an error of KindDenied.
func Here() (Place, error) { return placeOf(os.Geteuid(), AccountRunDir) }

func placeOf(uid int, accountDir string) (Place, error) {
	denied := func(hint string, err error) error {
		return &replicator.Error{Kind: replicator.KindDenied, Op: "find a place for locks", Hint: hint, Err: err}
	}
	const setUp = "log in as root, or as the account that docs/SOURCE-ACCOUNT.md sets up"
	info, err := os.Lstat(accountDir)
	switch {
	case errors.Is(err, fs.ErrNotExist) && uid == 0:
		return Place{RunDir: RunDir}, nil
	case errors.Is(err, fs.ErrNotExist):
		return Place{}, denied(setUp, fmt.Errorf("user %s is not root, and there is no %s", userName(uid), accountDir))
	case err != nil:
		return Place{}, denied(setUp, err)
	case !info.IsDir():
		return Place{}, denied("remove it", fmt.Errorf("%s is no folder", accountDir))
	}
	owner := int(info.Sys().(*syscall.Stat_t).Uid)
	switch {
	case owner == 0:
		return Place{}, denied("give it to the account that is to replicate, or remove it", fmt.Errorf("%s belongs to root", accountDir))
	case owner != uid:
		name := userName(owner)
		return Place{}, denied(fmt.Sprintf("use qemu+ssh://%s@HOST/system, or here: runuser -u %s -- vmsync", name, name),
			fmt.Errorf("on this host %s replicates, to whom %s belongs, and not %s", name, accountDir, userName(uid)))
	}
	return Place{RunDir: accountDir, Scratch: AccountScratchDir, Account: true}, nil
}

// userName is a user's name for people.
func userName(uid int) string {
	id := strconv.Itoa(uid)
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return "with the number " + id
}
