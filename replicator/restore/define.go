package restore

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/google/uuid"

	"vmsync/internal/domainxml"
	"vmsync/internal/event"
	"vmsync/internal/libvirt"
	"vmsync/internal/store"
	"vmsync/replicator"
	"vmsync/replicator/target"
)

// refuseTaken refuses a name that a domain of this host has.
func (r *restore) refuseTaken(ctx context.Context) error {
	if err := store.CheckDomainName(r.req.Define); err != nil {
		return r.usage(err)
	}
	virt, err := libvirt.Open(ctx)
	if err != nil {
		return r.fail(replicator.KindUnreachable, "", "is libvirtd running?", err)
	}
	defer virt.Close()
	_, err = virt.Lookup(ctx, r.req.Define)
	switch {
	case errors.Is(err, libvirt.ErrNoDomain):
		return nil
	case err != nil:
		return r.fail(replicator.KindUnreachable, "", "is libvirtd running?", err)
	}
	return r.usage(fmt.Errorf("--define %s: this host has a domain of this name", r.req.Define))
}

// define defines a machine over what was restored. It is another one than the source: it
// can run beside it.
func (r *restore) define(ctx context.Context) error {
	fail := func(err error) error {
		return r.fail(replicator.KindDefine, "", "the disks are restored; define it by hand over domain.xml", err)
	}
	b, err := r.pin.State.ReadKept(r.pin.Dir(), r.pin.State.DomainXML)
	if err != nil {
		return fail(err)
	}
	nvram := ""
	if r.pin.State.NVRAM != "" {
		nvram = filepath.Join(r.dest.path, "nvram.fd")
	}
	id := uuid.NewString()
	xml, err := machineXML(string(b), r.req.Define, id, nvram, r.done.Disks)
	if err != nil {
		return fail(err)
	}
	virt, err := libvirt.Open(ctx)
	if err != nil {
		return fail(err)
	}
	defer virt.Close()
	dom, err := virt.Define(ctx, xml)
	if err == nil {
		err = dom.SetAutostart(ctx, false)
	}
	if err != nil {
		return fail(err)
	}
	r.done.Defined = r.req.Define
	if r.pin.State.TPM == "" {
		return nil
	}
	archive, err := r.pin.State.ReadKept(r.pin.Dir(), r.pin.State.TPM)
	if err == nil {
		err = target.PlaceTPM(id, archive)
	}
	if err != nil {
		r.out.Emit(event.Warning{Message: fmt.Sprintf("the domain begins with an empty TPM; what the machine's TPM held is in tpm.tar: %v", err)})
	}
	return nil
}

// machineXML makes the definition of a machine of its own from the source's.
func machineXML(source, name, id, nvram string, disks []event.RestoredDisk) (string, error) {
	doc, err := domainxml.Parse(source)
	if err != nil {
		return "", err
	}
	doc.SetName(name)
	doc.SetUUID(id)
	doc.Distinguish()
	doc.RemoveMark()
	restored := map[string]bool{}
	for _, d := range disks {
		restored[d.Disk] = true
		if err := doc.UseFile(d.Disk, d.Path, d.Format); err != nil {
			return "", err
		}
	}
	for _, d := range doc.Disks() {
		switch {
		case restored[d.Name]:
		case d.Removable():
			if err := doc.Eject(d.Name); err != nil {
				return "", err
			}
		default:
			doc.RemoveDisk(d.Name)
		}
	}
	if nvram != "" {
		doc.SetNVRAM(nvram)
	} else {
		doc.RemoveNVRAM() // the path is that of the source's own
	}
	return doc.String()
}
