package libvirt

import (
	"context"
	"errors"

	"github.com/google/uuid"
	lv "libvirt.org/go/libvirt"
)

// Domain names one domain of a connection. It holds nothing of libvirt's and needs
// no closing; a domain that was undefined meanwhile gives ErrNoDomain. It is safe
// for several goroutines.
type Domain struct {
	Name string
	UUID string
	conn *Conn
}

// Lookup finds a domain by its UUID, if the text is one, or else by its name.
func (c *Conn) Lookup(ctx context.Context, nameOrUUID string) (*Domain, error) {
	return call(ctx, c, "look up the domain", nameOrUUID, again, func(raw *lv.Connect) (*Domain, error) {
		if id, err := uuid.Parse(nameOrUUID); err == nil {
			d, err := raw.LookupDomainByUUIDString(id.String())
			if err == nil {
				return describe(c, d)
			}
			if !isCode(err, lv.ERR_NO_DOMAIN) {
				return nil, err
			}
			// A name may look like an UUID.
		}
		d, err := raw.LookupDomainByName(nameOrUUID)
		if err != nil {
			return nil, err
		}
		return describe(c, d)
	})
}

// Listed is a domain of this host.
type Listed struct {
	Name, UUID string
	Active     bool   // it runs, or is paused
	Metadata   string // the element of the namespace that was asked for; empty without one
}

// Domains lists the domains of this host, also those that do not run, in no order, with
// what their metadata has of an XML namespace. One that goes while they are listed is left
// out.
func (c *Conn) Domains(ctx context.Context, namespace string) ([]Listed, error) {
	return call(ctx, c, "list the domains", "", again, func(raw *lv.Connect) ([]Listed, error) {
		found, err := raw.ListAllDomains(0)
		if err != nil {
			return nil, err
		}
		all := make([]Listed, 0, len(found))
		for i := range found {
			active, err := found[i].IsActive()
			metadata, merr := found[i].GetMetadata(lv.DOMAIN_METADATA_ELEMENT, namespace, 0)
			if isCode(merr, lv.ERR_NO_DOMAIN_METADATA) {
				merr = nil
			}
			d, derr := describe(c, &found[i])
			err = errors.Join(err, merr, derr)
			if isCode(err, lv.ERR_NO_DOMAIN) {
				continue
			}
			if err != nil {
				for j := i + 1; j < len(found); j++ {
					free(&found[j])
				}
				return nil, err
			}
			all = append(all, Listed{Name: d.Name, UUID: d.UUID, Active: active, Metadata: metadata})
		}
		return all, nil
	})
}

// describe makes a Domain of the raw one and frees that.
func describe(c *Conn, d *lv.Domain) (*Domain, error) {
	defer free(d)
	name, err := d.GetName()
	if err != nil {
		return nil, err
	}
	id, err := d.GetUUIDString()
	if err != nil {
		return nil, err
	}
	return &Domain{Name: name, UUID: id, conn: c}, nil
}

// Free fails only on a nil pointer.
func free(d *lv.Domain) { _ = d.Free() }

func isCode(err error, code lv.ErrorNumber) bool {
	raw, ok := errors.AsType[lv.Error](err)
	return ok && raw.Code == code
}

// on runs f with the raw domain, found anew by its UUID: so it works across a
// restart of libvirtd.
func on[T any](ctx context.Context, d *Domain, op string, m mode, f func(*lv.Domain) (T, error)) (T, error) {
	return call(ctx, d.conn, op, d.Name, m, func(raw *lv.Connect) (T, error) {
		dom, err := raw.LookupDomainByUUIDString(d.UUID)
		if err != nil {
			var none T
			return none, err
		}
		defer free(dom)
		return f(dom)
	})
}

// do is on for calls without a result.
func do(ctx context.Context, d *Domain, op string, m mode, f func(*lv.Domain) error) error {
	_, err := on(ctx, d, op, m, func(dom *lv.Domain) (struct{}, error) { return struct{}{}, f(dom) })
	return err
}

// View chooses between a domain's definitions.
type View int

const (
	// Live is the domain as it runs, with aliases, indexes and backing chains.
	Live View = iota
	// Portable is what the next start would use, without what only this host's
	// libvirt could read, and with passwords: keep it from other users.
	Portable
)

const portable = lv.DOMAIN_XML_INACTIVE | lv.DOMAIN_XML_MIGRATABLE | lv.DOMAIN_XML_SECURE

// XML returns the domain's definition.
func (d *Domain) XML(ctx context.Context, v View) (string, error) {
	var flags lv.DomainXMLFlags
	if v == Portable {
		flags = portable
	}
	return on(ctx, d, "read the definition", again, func(dom *lv.Domain) (string, error) { return dom.GetXMLDesc(flags) })
}

// ID returns the running domain's number. The error is ErrOperationInvalid or
// ErrInternal when it does not run.
func (d *Domain) ID(ctx context.Context) (uint, error) {
	return on(ctx, d, "read the domain's number", again, func(dom *lv.Domain) (uint, error) { return dom.GetID() })
}

// Size returns a disk's virtual size in bytes. The domain need not run.
func (d *Domain) Size(ctx context.Context, disk string) (int64, error) {
	return on(ctx, d, "read the size of disk "+disk, again, func(dom *lv.Domain) (int64, error) {
		info, err := dom.GetBlockInfo(disk, 0)
		if err != nil {
			return 0, err
		}
		return int64(info.Capacity), nil
	})
}

// Resume lets a paused domain run.
func (d *Domain) Resume(ctx context.Context) error {
	return do(ctx, d, "resume the domain", once, func(dom *lv.Domain) error { return dom.Resume() })
}

// Define makes or replaces a domain's persistent definition.
func (c *Conn) Define(ctx context.Context, xml string) (*Domain, error) {
	return call(ctx, c, "define the domain", "", again, func(raw *lv.Connect) (*Domain, error) {
		d, err := raw.DomainDefineXML(xml)
		if err != nil {
			return nil, err
		}
		return describe(c, d)
	})
}

// Undefine removes the persistent definition, with the metadata of checkpoints and
// snapshots and a saved memory image, but never an image or NVRAM file.
func (d *Domain) Undefine(ctx context.Context) error {
	return do(ctx, d, "undefine the domain", once, func(dom *lv.Domain) error {
		return dom.UndefineFlags(lv.DOMAIN_UNDEFINE_MANAGED_SAVE | lv.DOMAIN_UNDEFINE_SNAPSHOTS_METADATA |
			lv.DOMAIN_UNDEFINE_CHECKPOINTS_METADATA | lv.DOMAIN_UNDEFINE_KEEP_NVRAM)
	})
}

// Autostart says whether the host starts the domain when it boots.
func (d *Domain) Autostart(ctx context.Context) (bool, error) {
	return on(ctx, d, "read autostart", again, func(dom *lv.Domain) (bool, error) { return dom.GetAutostart() })
}

// SetAutostart sets whether the host starts the domain when it boots.
func (d *Domain) SetAutostart(ctx context.Context, autostart bool) error {
	return do(ctx, d, "set autostart", again, func(dom *lv.Domain) error { return dom.SetAutostart(autostart) })
}

// HasManagedSave says whether the domain's memory is saved, so that its next start
// continues instead of booting.
func (d *Domain) HasManagedSave(ctx context.Context) (bool, error) {
	return on(ctx, d, "look for a saved memory image", again, func(dom *lv.Domain) (bool, error) { return dom.HasManagedSaveImage(0) })
}
