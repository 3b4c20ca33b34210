package libvirt

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"time"

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
			text, err := raw[i].GetXMLDesc(lv.DOMAIN_CHECKPOINT_XML_NO_DOMAIN)
			_ = raw[i].Free() // fails only on a nil pointer
			switch {
			case err == nil:
				xmls = append(xmls, text)
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
	for _, text := range all {
		c, err := ParseCheckpoint(text)
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

// CheckpointImages returns, for each disk that the domain had when the checkpoint was
// made, the path of its image; empty for a checkpoint that libvirt was told of without
// the domain's definition. An image that is neither file nor block device is left out.
func (d *Domain) CheckpointImages(ctx context.Context, name string) (map[string]string, error) {
	op := "read checkpoint " + name
	text, err := on(ctx, d, op, again, func(dom *lv.Domain) (string, error) {
		c, err := dom.CheckpointLookupByName(name, 0)
		if err != nil {
			return "", err
		}
		defer func() { _ = c.Free() }()
		return c.GetXMLDesc(0)
	})
	if err != nil {
		return nil, err
	}
	images, err := parseCheckpointImages(text)
	if err != nil {
		return nil, &Error{Op: op, Domain: d.Name, Err: err}
	}
	return images, nil
}

func parseCheckpointImages(text string) (map[string]string, error) {
	var in struct {
		Disks []struct {
			Source struct {
				File string `xml:"file,attr"`
				Dev  string `xml:"dev,attr"`
			} `xml:"source"`
			Target struct {
				Dev string `xml:"dev,attr"`
			} `xml:"target"`
		} `xml:"domain>devices>disk"`
	}
	if err := xml.Unmarshal([]byte(text), &in); err != nil {
		return nil, fmt.Errorf("checkpoint XML: %w", err)
	}
	images := make(map[string]string)
	for _, d := range in.Disks {
		if path := d.Source.File + d.Source.Dev; path != "" {
			images[d.Target.Dev] = path
		}
	}
	return images, nil
}

// RedefineCheckpoint makes libvirt know a checkpoint whose definition it lost, as
// when the domain was undefined. It makes no bitmaps and touches none. created is for
// people; any time but zero will do.
//
// With validate the call fails with ErrCheckpointInconsistent unless each disk that
// the checkpoint tracks has its usable bitmap, and with ErrOperationInvalid when the
// domain does not run; a libvirt before 6.10 knows no validation and fails with
// ErrInvalidArg. Without, bitmaps may be missing. A checkpoint that libvirt knows
// already, with the same disks, is no error.
func (d *Domain) RedefineCheckpoint(ctx context.Context, c Checkpoint, created time.Time, validate bool) error {
	op := "define checkpoint " + c.Name + " again"
	text, err := c.xml(created)
	if err != nil {
		return &Error{Op: op, Domain: d.Name, Err: err}
	}
	flags := lv.DOMAIN_CHECKPOINT_CREATE_REDEFINE
	if validate {
		flags |= lv.DOMAIN_CHECKPOINT_CREATE_REDEFINE_VALIDATE
	}
	return do(ctx, d, op, again, func(dom *lv.Domain) error {
		made, err := dom.CreateCheckpointXML(text, flags)
		if err == nil {
			_ = made.Free() // fails only on a nil pointer
		}
		return err
	})
}
