package lab

import (
	"context"
	"encoding/xml"
	"fmt"
)

// liveDisk is what the lab reads of a <disk>.
type liveDisk struct {
	Device string `xml:"device,attr"`
	Target struct {
		Dev string `xml:"dev,attr"`
	} `xml:"target"`
	Source struct {
		File string `xml:"file,attr"`
	} `xml:"source"`
	Alias struct {
		Name string `xml:"name,attr"`
	} `xml:"alias"`
}

type liveDomain struct {
	Disks    []liveDisk `xml:"devices>disk"`
	Channels []struct {
		Source struct {
			Path string `xml:"path,attr"`
		} `xml:"source"`
		Target struct {
			Name string `xml:"name,attr"`
		} `xml:"target"`
	} `xml:"devices>channel"`
}

func (m *Machine) live(ctx context.Context) (*liveDomain, error) {
	doc, err := m.XML(ctx)
	if err != nil {
		return nil, err
	}
	var d liveDomain
	if err := xml.Unmarshal([]byte(doc), &d); err != nil {
		return nil, fmt.Errorf("read the XML of machine %s: %w", m.name, err)
	}
	return &d, nil
}

func (m *Machine) disks(ctx context.Context) ([]liveDisk, error) {
	d, err := m.live(ctx)
	if err != nil {
		return nil, err
	}
	return d.Disks, nil
}

// disk finds a disk by its target.
func (m *Machine) disk(ctx context.Context, target string) (liveDisk, error) {
	disks, err := m.disks(ctx)
	if err != nil {
		return liveDisk{}, err
	}
	for _, d := range disks {
		if d.Target.Dev == target {
			return d, nil
		}
	}
	return liveDisk{}, fmt.Errorf("machine %s has no disk %s", m.name, target)
}

// DiskPath is the image a disk writes to now, as a path in the host.
func (m *Machine) DiskPath(ctx context.Context, target string) (string, error) {
	d, err := m.disk(ctx, target)
	return d.Source.File, err
}
