package replicator

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
	"unicode"

	"github.com/google/uuid"

	"vmsync/internal/domainxml"
)

const (
	streamStateVersion = 1
	// A state with parts of the firmware has a version of its own: who does not know
	// them must not make a replica without them in silence.
	streamStateFirmware = 2
	// maxStreamPacked bounds each part of the firmware, in bytes before base64: the
	// header of a stream holds 1 MiB in all.
	maxStreamPacked = 192 << 10
	maxStreamName   = 255                   // bytes of a name for people
	maxFrozen       = float64(24 * 60 * 60) // seconds
)

// StreamState is what the header of a stream says of the state that the stream
// brings, for whoever receives it without its source (docs/STREAM.md, "The state
// object").
type StreamState struct {
	Version       int          `json:"version"` // set by Encode
	Time          time.Time    `json:"time"`
	Consistency   Consistency  `json:"consistency"`
	FrozenSeconds float64      `json:"frozen_seconds"`
	Source        StreamSource `json:"source"`
	DomainXML     string       `json:"domain_xml"`
	LeftOut       []string     `json:"left_out,omitempty"`
	NVRAM         Packed       `json:"nvram,omitempty"` // see [Begun]
	TPM           Packed       `json:"tpm,omitempty"`   // see [Begun]
}

// StreamSource is where the state comes from.
type StreamSource struct {
	UUID   string `json:"uuid"`    // of the domain
	Host   string `json:"host"`    // for people
	HostID string `json:"host_id"` // libvirt's UUID of the host
}

// Frozen is how long the guest was frozen.
func (s *StreamState) Frozen() time.Duration {
	return time.Duration(s.FrozenSeconds * float64(time.Second))
}

// hasFirmware says whether the state has parts of the domain's firmware.
func (s *StreamState) hasFirmware() bool { return len(s.NVRAM) > 0 || len(s.TPM) > 0 }

// SetFirmware takes over what fits into a stream of a domain's UEFI variables and
// TPM, and says in words what does not.
func (s *StreamState) SetFirmware(nvram, tpm Packed) (warnings []string) {
	for _, part := range []struct {
		what string
		from Packed
		to   *Packed
	}{{"UEFI variables", nvram, &s.NVRAM}, {"files of the TPM", tpm, &s.TPM}} {
		if err := part.from.fits(maxStreamPacked); err != nil {
			warnings = append(warnings, fmt.Sprintf("the %s are not in the stream: %v; a sync carries them", part.what, err))
			continue
		}
		*part.to = part.from
	}
	return warnings
}

// Encode returns the object for the header of a stream.
func (s *StreamState) Encode() (json.RawMessage, error) {
	v := *s
	v.Version = streamStateVersion
	if v.hasFirmware() {
		v.Version = streamStateFirmware
	}
	if err := v.check(); err != nil {
		return nil, fmt.Errorf("describe the state: %w", err)
	}
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("describe the state: %w", err)
	}
	return b, nil
}

// ParseStreamState reads what Encode wrote, which may come from anybody. It refuses
// other versions and whatever makes no sense.
func ParseStreamState(object []byte) (*StreamState, error) {
	// The version goes first: the fields of another one would only confuse.
	var head struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(object, &head); err != nil {
		return nil, fmt.Errorf("the state in the stream's header: %w", err)
	}
	if head.Version != streamStateVersion && head.Version != streamStateFirmware {
		return nil, fmt.Errorf("the state in the stream's header has version %d; this program knows versions %d and %d", head.Version, streamStateVersion, streamStateFirmware)
	}
	d := json.NewDecoder(bytes.NewReader(object))
	d.DisallowUnknownFields()
	s := &StreamState{}
	if err := d.Decode(s); err != nil {
		return nil, fmt.Errorf("the state in the stream's header: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("the state in the stream's header: more than one JSON value")
	}
	if err := s.check(); err != nil {
		return nil, fmt.Errorf("the state in the stream's header: %w", err)
	}
	return s, nil
}

// check says what makes no sense about the values.
func (s *StreamState) check() error {
	switch {
	case s.Time.UTC().Year() < 1970 || s.Time.UTC().Year() > 9999: // no four digits
		return fmt.Errorf("no time of a checkpoint: %v", s.Time)
	case s.Consistency != ConsistencyFilesystem && s.Consistency != ConsistencyCrash:
		return fmt.Errorf("unknown consistency %q", s.Consistency)
	case (s.Version == streamStateFirmware) != s.hasFirmware():
		return fmt.Errorf("version %d with UEFI variables of %d bytes and a TPM's state of %d", s.Version, len(s.NVRAM), len(s.TPM))
	case !(s.FrozenSeconds >= 0 && s.FrozenSeconds <= maxFrozen):
		return fmt.Errorf("frozen for %v s", s.FrozenSeconds)
	}
	for _, name := range append([]string{s.Source.Host, s.Source.HostID}, s.LeftOut...) {
		if err := checkStreamName(name); err != nil {
			return err
		}
	}
	if len(s.TPM) > 0 {
		if _, err := ReadTPM(s.TPM); err != nil {
			return err
		}
	}
	if id, err := uuid.Parse(s.Source.UUID); err != nil || id.String() != s.Source.UUID {
		return fmt.Errorf("%q is not the UUID of a domain", s.Source.UUID)
	}
	doc, err := domainxml.Parse(s.DomainXML)
	if err != nil {
		return err
	}
	if doc.UUID() != s.Source.UUID {
		return fmt.Errorf("the domain's definition is of UUID %q, its state of %s", doc.UUID(), s.Source.UUID)
	}
	return nil
}

// checkStreamName refuses a name that nobody gives to a host or a disk.
func checkStreamName(name string) error {
	if len(name) > maxStreamName {
		return fmt.Errorf("a name of %d bytes, more than %d", len(name), maxStreamName)
	}
	for _, c := range name {
		if c == unicode.ReplacementChar || !unicode.IsPrint(c) {
			return fmt.Errorf("the name %q cannot be shown", name)
		}
	}
	return nil
}

// defines says whether the domain's definition has a disk that is no drive for
// removable media.
func (s *StreamState) defines(disk string) bool {
	doc, err := domainxml.Parse(s.DomainXML)
	return err == nil && slices.ContainsFunc(doc.Disks(), func(d domainxml.Disk) bool { return d.Name == disk && !d.Removable() })
}
