package libvirt

import (
	"encoding/xml"
	"fmt"
	"time"
)

// Backup is a pull backup: what to begin, or what runs.
type Backup struct {
	// Socket is the unix socket that qemu's NBD server listens on; "" for a backup
	// of another program that uses TCP or pushes.
	Socket string
	Disks  []BackupDisk
}

// BackupDisk is one disk of the domain in a backup.
type BackupDisk struct {
	Name string // target device
	// Excluded leaves the disk out. Every disk of the domain has to be named, for
	// libvirt's default is to include it.
	Excluded bool
	// Incremental is the checkpoint since which to export changes; "" for all.
	Incremental string
	Scratch     string // path of the file that keeps what the guest overwrites meanwhile
	Export      string // NBD export name; the disk's name if empty
	Bitmap      string // name of the export's dirty bitmap; "backup-" + name if empty
}

type backupXML struct {
	XMLName xml.Name        `xml:"domainbackup"`
	Mode    string          `xml:"mode,attr,omitempty"`
	Server  *serverXML      `xml:"server"`
	Disks   []backupDiskXML `xml:"disks>disk"`
}

type serverXML struct {
	Transport string `xml:"transport,attr,omitempty"`
	Socket    string `xml:"socket,attr,omitempty"`
}

type backupDiskXML struct {
	Name        string      `xml:"name,attr"`
	Backup      string      `xml:"backup,attr,omitempty"`
	Type        string      `xml:"type,attr,omitempty"`
	Mode        string      `xml:"backupmode,attr,omitempty"`
	Incremental string      `xml:"incremental,attr,omitempty"`
	Export      string      `xml:"exportname,attr,omitempty"`
	Bitmap      string      `xml:"exportbitmap,attr,omitempty"`
	Scratch     *scratchXML `xml:"scratch"`
}

type scratchXML struct {
	File string `xml:"file,attr,omitempty"`
}

// XML returns what BeginBackup takes. Full and incremental disks may be mixed.
func (b *Backup) XML() (string, error) {
	out := backupXML{Mode: "pull", Server: &serverXML{Transport: "unix", Socket: b.Socket}}
	for _, d := range b.Disks {
		if d.Excluded {
			out.Disks = append(out.Disks, backupDiskXML{Name: d.Name, Backup: "no"})
			continue
		}
		// Without the type and the scratch file libvirt's schema check and qemu,
		// respectively, complain about something else.
		disk := backupDiskXML{Name: d.Name, Backup: "yes", Type: "file", Mode: "full",
			Export: d.Export, Scratch: &scratchXML{File: d.Scratch}}
		if d.Incremental != "" {
			disk.Mode, disk.Incremental, disk.Bitmap = "incremental", d.Incremental, d.Bitmap
		}
		out.Disks = append(out.Disks, disk)
	}
	return marshal(out)
}

// ParseBackup reads what libvirt says of a running backup.
func ParseBackup(s string) (*Backup, error) {
	var in backupXML
	if err := xml.Unmarshal([]byte(s), &in); err != nil {
		return nil, fmt.Errorf("backup XML: %w", err)
	}
	b := new(Backup)
	if in.Mode == "pull" && in.Server != nil && in.Server.Transport == "unix" {
		b.Socket = in.Server.Socket
	}
	for _, d := range in.Disks {
		disk := BackupDisk{Name: d.Name, Excluded: d.Backup == "no", Export: d.Export, Bitmap: d.Bitmap}
		if d.Mode != "full" {
			disk.Incremental = d.Incremental
		}
		if d.Scratch != nil {
			disk.Scratch = d.Scratch.File
		}
		b.Disks = append(b.Disks, disk)
	}
	return b, nil
}

// Checkpoint is a point in time from which bitmaps track changes.
type Checkpoint struct {
	Name        string
	Description string
	Disks       []string // disks it tracks
	// Others are disks of the domain that it leaves out. Libvirt's default for a
	// disk that is not named depends on its version.
	Others []string
}

type checkpointXML struct {
	XMLName     xml.Name            `xml:"domaincheckpoint"`
	Name        string              `xml:"name"`
	Description string              `xml:"description,omitempty"`
	Created     int64               `xml:"creationTime,omitempty"` // seconds since 1970
	Disks       []checkpointDiskXML `xml:"disks>disk"`
}

type checkpointDiskXML struct {
	Name       string `xml:"name,attr"`
	Checkpoint string `xml:"checkpoint,attr,omitempty"`
}

// XML returns what BeginBackup takes.
func (c *Checkpoint) XML() (string, error) { return c.xml(time.Time{}) }

// xml is XML with the time of the checkpoint's making, if it is not zero. Libvirt
// sets that by itself, but not for a checkpoint that it is to know again.
func (c *Checkpoint) xml(created time.Time) (string, error) {
	out := checkpointXML{Name: c.Name, Description: c.Description}
	if !created.IsZero() {
		out.Created = created.Unix()
	}
	for _, name := range c.Disks {
		out.Disks = append(out.Disks, checkpointDiskXML{name, "bitmap"})
	}
	for _, name := range c.Others {
		out.Disks = append(out.Disks, checkpointDiskXML{name, "no"})
	}
	return marshal(out)
}

// ParseCheckpoint reads libvirt's description of a checkpoint.
func ParseCheckpoint(s string) (*Checkpoint, error) {
	var in checkpointXML
	if err := xml.Unmarshal([]byte(s), &in); err != nil {
		return nil, fmt.Errorf("checkpoint XML: %w", err)
	}
	if in.Name == "" {
		return nil, fmt.Errorf("checkpoint XML: no name")
	}
	c := &Checkpoint{Name: in.Name, Description: in.Description}
	for _, d := range in.Disks {
		if d.Checkpoint == "bitmap" {
			c.Disks = append(c.Disks, d.Name)
		} else {
			c.Others = append(c.Others, d.Name)
		}
	}
	return c, nil
}

func marshal(v any) (string, error) {
	data, err := xml.MarshalIndent(v, "", "  ")
	if err != nil {
		return "", fmt.Errorf("write XML: %w", err)
	}
	return string(data), nil
}
