package libvirt

import (
	"context"
	"errors"

	lv "libvirt.org/go/libvirt"
)

// Checkpoints returns all the domain's checkpoints, of whichever program, in no
// particular order.
func (d *Domain) Checkpoints(ctx context.Context) ([]Checkpoint, error) {
	const op = "list the checkpoints"
	all, err := on(ctx, d, op, again, func(dom *lv.Domain) ([]string, error) {
		raw, err := dom.ListAllCheckpoints(0)
		if err != nil {
			return nil, err
		}
		var xmls []string
		for i := range raw {
			xml, err := raw[i].GetXMLDesc(lv.DOMAIN_CHECKPOINT_XML_NO_DOMAIN)
			_ = raw[i].Free() // fails only on a nil pointer
			switch {
			case err == nil:
				xmls = append(xmls, xml)
			case isCode(err, lv.ERR_NO_DOMAIN_CHECKPOINT): // deleted meanwhile
			default:
				return nil, err
			}
		}
		return xmls, nil
	})
	if err != nil {
		return nil, err
	}
	checkpoints := make([]Checkpoint, 0, len(all))
	for _, xml := range all {
		c, err := ParseCheckpoint(xml)
		if err != nil {
			return nil, &Error{Op: op, Domain: d.Name, Err: err}
		}
		checkpoints = append(checkpoints, *c)
	}
	return checkpoints, nil
}

// DeleteCheckpoint deletes a checkpoint and its bitmaps. With metadataOnly it makes
// libvirt forget the checkpoint and leaves any bitmaps where they are. A checkpoint
// that does not exist is no error.
func (d *Domain) DeleteCheckpoint(ctx context.Context, name string, metadataOnly bool) error {
	var flags lv.DomainCheckpointDeleteFlags
	if metadataOnly {
		flags = lv.DOMAIN_CHECKPOINT_DELETE_METADATA_ONLY
	}
	err := do(ctx, d, "delete checkpoint "+name, again, func(dom *lv.Domain) error {
		c, err := dom.CheckpointLookupByName(name, 0)
		if err != nil {
			return err
		}
		defer func() { _ = c.Free() }()
		return c.Delete(flags)
	})
	if errors.Is(err, ErrNoCheckpoint) {
		return nil
	}
	return err
}
