package libvirt

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	lv "libvirt.org/go/libvirt"
)

// Shape tells two looks at a domain apart between which somebody changed its definition
// or its disks. What the guest does to its disks is no part of it.
type Shape struct {
	Definition string // digest of what [Domain.XML] gives for Portable
	Disks      string // digest of the names, images and sizes of the disks that it has now
}

// Known names a domain without asking whether there is one.
func (c *Conn) Known(name, uuid string) *Domain { return &Domain{Name: name, UUID: uuid, conn: c} }

// Shape looks at what the domain is made of. It must run.
func (d *Domain) Shape(ctx context.Context) (Shape, error) {
	const op = "look at the definition and the disks"
	return call(ctx, d.conn, op, d.Name, again, func(raw *lv.Connect) (Shape, error) {
		dom, err := raw.LookupDomainByUUIDString(d.UUID)
		if err != nil {
			return Shape{}, err
		}
		defer free(dom)
		xml, err := dom.GetXMLDesc(portable)
		if err != nil {
			return Shape{}, err
		}
		all, err := raw.GetAllDomainStats([]*lv.Domain{dom}, lv.DOMAIN_STATS_BLOCK, 0)
		if err != nil {
			return Shape{}, err
		}
		for i := range all {
			defer free(all[i].Domain)
		}
		if len(all) != 1 {
			return Shape{}, errors.New("libvirt does not tell which disks the domain has")
		}
		disks := ""
		for _, b := range all[0].Block {
			disks += fmt.Sprintf("%q %q %d\n", b.Name, b.Path, b.Capacity)
		}
		return Shape{Definition: Digest(xml), Disks: Digest(disks)}, nil
	})
}

// Digest is a text's, as [Shape] has it.
func Digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}
