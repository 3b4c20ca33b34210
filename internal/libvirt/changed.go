package libvirt

import (
	"context"
	"encoding/xml"
	"fmt"

	lv "libvirt.org/go/libvirt"
)

// ChangedSince tells, for each disk that a checkpoint tracks, how many bytes the dirty
// bitmaps since then cover: at least what was written, in whole pieces of the bitmap's
// granularity. The domain must run. Guests go on writing: it is true of some moment during
// the call. A checkpoint that does not exist is an ErrNoCheckpoint.
func (d *Domain) ChangedSince(ctx context.Context, checkpoint string) (map[string]int64, error) {
	op := "measure what changed since checkpoint " + checkpoint
	text, err := on(ctx, d, op, again, func(dom *lv.Domain) (string, error) {
		c, err := dom.CheckpointLookupByName(checkpoint, 0)
		if err != nil {
			return "", err
		}
		defer func() { _ = c.Free() }() // fails only on a nil pointer
		return c.GetXMLDesc(lv.DOMAIN_CHECKPOINT_XML_SIZE | lv.DOMAIN_CHECKPOINT_XML_NO_DOMAIN)
	})
	if err != nil {
		return nil, err
	}
	changed, err := parseChanged(text)
	if err != nil {
		return nil, &Error{Op: op, Domain: d.Name, Err: err}
	}
	return changed, nil
}

func parseChanged(text string) (map[string]int64, error) {
	var in struct {
		Disks []struct {
			Name       string `xml:"name,attr"`
			Checkpoint string `xml:"checkpoint,attr"`
			Size       *int64 `xml:"size,attr"`
		} `xml:"disks>disk"`
	}
	if err := xml.Unmarshal([]byte(text), &in); err != nil {
		return nil, fmt.Errorf("checkpoint XML: %w", err)
	}
	changed := make(map[string]int64)
	for _, d := range in.Disks {
		if d.Checkpoint != "bitmap" {
			continue
		}
		if d.Size == nil || *d.Size < 0 {
			return nil, fmt.Errorf("checkpoint XML: no size of disk %q", d.Name)
		}
		changed[d.Name] = *d.Size
	}
	return changed, nil
}
