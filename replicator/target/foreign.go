package target

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"vmsync/internal/domainxml"
	"vmsync/internal/libvirt"
	"vmsync/internal/store"
	"vmsync/replicator"
)

// opDomain is what errors about the replica's domain say was tried.
const opDomain = "look at the replica's domain"

// refuseForeign refuses a domain on the target that has the replica's name but
// is not the replica. It notes where that is to be defined anew.
func (t *Target) refuseForeign(ctx context.Context) error {
	_, doc, err := t.ownDomain(ctx)
	if err != nil {
		return err
	}
	if doc == nil {
		t.domainStale = true
		return nil
	}
	mark, _ := doc.Mark()
	if mark.Role != "" && mark.Role != string(t.manifest.Role) {
		return t.fail(replicator.KindRole, opDomain, "", "see with `virsh metadata` who changed it, and have one of them say what is true",
			fmt.Errorf("the domain on the target is marked as %s, but the store says it is %s", mark.Role, t.manifest.Role))
	}
	return t.refuseCopy(mark)
}

// ownDomain is the replica's domain and its definition; nil if it is not defined. One of
// its name that is not the replica is refused.
func (t *Target) ownDomain(ctx context.Context) (*libvirt.Domain, *domainxml.Document, error) {
	dom, err := t.virt.Lookup(ctx, t.domain)
	if errors.Is(err, libvirt.ErrNoDomain) {
		return nil, nil, nil
	}
	var xml string
	if err == nil {
		xml, err = dom.XML(ctx, libvirt.Portable)
	}
	if err != nil {
		return nil, nil, t.fail(replicator.KindUnreachable, opDomain, "", "is libvirtd healthy on the target?", err)
	}
	doc, err := domainxml.Parse(xml)
	if err != nil {
		return nil, nil, t.fail(replicator.KindOther, opDomain, "", "", err)
	}
	mark, ok := doc.Mark()
	switch {
	case !ok:
		return nil, nil, t.foreign()
	case mark.Pair != t.manifest.Pair:
		return nil, nil, t.astray(mark)
	}
	return dom, doc, nil
}

// foreign is the error of a domain that has the replica's name but is not the replica.
func (t *Target) foreign() error {
	return t.fail(replicator.KindOtherMachine, opDomain, "",
		"give the replica another name with --target-domain, or undefine that domain if it is not needed",
		errors.New("the target has a domain of this name that is not a replica of this store"))
}

// astray is the error of a domain that is a replica, but not the one that the folder holds:
// where that is not mounted it would hold none, and a first copy would begin below the
// mount point.
func (t *Target) astray(mark domainxml.Mark) error {
	if mark.Store == t.folder.Dir() {
		return t.fail(replicator.KindOtherMachine, opDomain, "",
			fmt.Sprintf("mount the file system that the store is on; only if the replica is lost: virsh undefine %s --nvram, and sync again", t.domain),
			fmt.Errorf("the domain on the target boots a replica in %s that is not there", mark.Store))
	}
	return t.fail(replicator.KindOtherMachine, opDomain, "",
		fmt.Sprintf("go on with that one, or move it to %s first; another replica needs another name: --target-domain", t.folder.Dir()),
		fmt.Errorf("the domain on the target boots a replica in %s", mark.Store))
}

// refuseCopy refuses a folder that is a copy of the one which the domain boots from: two
// would be kept from now on, of which nobody knows what is in which. Where the replica was
// moved it notes that.
func (t *Target) refuseCopy(mark domainxml.Mark) error {
	if mark.Store == t.folder.Dir() || !filepath.IsAbs(mark.Store) {
		return nil
	}
	t.domainStale = true
	here, err := os.Stat(t.folder.Dir())
	if err != nil {
		return t.storeError("open the store", "", err)
	}
	if there, err := os.Stat(mark.Store); err == nil && os.SameFile(here, there) {
		return nil // by another path
	}
	other, err := store.Read(filepath.Dir(mark.Store), filepath.Base(mark.Store))
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && other.Pair != t.manifest.Pair:
		return nil
	case err == nil:
		err = fmt.Errorf("the domain on the target boots this replica in %s, and %s is a copy of it", mark.Store, t.folder.Dir())
	default:
		err = fmt.Errorf("the domain on the target boots this replica in %s, of which nobody can tell whether it is still there: %w", mark.Store, err)
	}
	return t.fail(replicator.KindOtherMachine, opDomain, "",
		fmt.Sprintf("go on with that one; or, to go on with this one, move %s away", mark.Store), err)
}
