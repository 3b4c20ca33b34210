package libvirt

import (
	"context"
	"encoding/xml"
	"fmt"
	"strconv"
	"strings"

	lv "libvirt.org/go/libvirt"
)

// Host is what libvirt says of its host.
type Host struct {
	// UUID tells hosts apart, also those with the same name.
	UUID string
	// QemuUID and QemuGID are the user that qemu runs as unless a domain says
	// otherwise; -1 when libvirt does not change the user.
	QemuUID, QemuGID int
}

// Host returns what libvirt says of this host.
func (c *Conn) Host(ctx context.Context) (Host, error) {
	const op = "read the host's capabilities"
	s, err := call(ctx, c, op, "", again, func(raw *lv.Connect) (string, error) { return raw.GetCapabilities() })
	if err != nil {
		return Host{}, err
	}
	h, err := parseCapabilities(s)
	if err != nil {
		return Host{}, &Error{Op: op, Err: err}
	}
	return h, nil
}

func parseCapabilities(s string) (Host, error) {
	var caps struct {
		Host struct {
			UUID     string `xml:"uuid"`
			SecModel []struct {
				Model string `xml:"model"`
				Label []struct {
					Type  string `xml:"type,attr"`
					Value string `xml:",chardata"`
				} `xml:"baselabel"`
			} `xml:"secmodel"`
		} `xml:"host"`
	}
	if err := xml.Unmarshal([]byte(s), &caps); err != nil {
		return Host{}, fmt.Errorf("capabilities: %w", err)
	}
	h := Host{UUID: strings.TrimSpace(caps.Host.UUID), QemuUID: -1, QemuGID: -1}
	if h.UUID == "" {
		return Host{}, fmt.Errorf("capabilities: the host has no UUID")
	}
	for _, model := range caps.Host.SecModel {
		if model.Model != "dac" {
			continue
		}
		for _, label := range model.Label {
			uid, gid, ok := parseDACLabel(strings.TrimSpace(label.Value))
			if !ok {
				return Host{}, fmt.Errorf("capabilities: DAC label %q", label.Value)
			}
			// Every type of virtualisation has the same label.
			h.QemuUID, h.QemuGID = uid, gid
		}
	}
	return h, nil
}

// parseDACLabel reads "+64055:+64055".
func parseDACLabel(s string) (uid, gid int, ok bool) {
	u, g, found := strings.Cut(s, ":")
	if !found {
		return 0, 0, false
	}
	uid, errU := strconv.Atoi(strings.TrimPrefix(u, "+"))
	gid, errG := strconv.Atoi(strings.TrimPrefix(g, "+"))
	return uid, gid, errU == nil && errG == nil && uid >= 0 && gid >= 0
}
