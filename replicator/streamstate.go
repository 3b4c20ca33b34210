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
	maxStreamName      = 255                   // bytes of a name for people
	maxFrozen          = float64(24 * 60 * 60) // seconds
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

// Encode returns the object for the header of a stream.
func (s *StreamState) Encode() (json.RawMessage, error) {
	v := *s
	v.Version = streamStateVersion
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
	if head.Version != streamStateVersion {
		return nil, fmt.Errorf("the state in the stream's header has version %d; this program knows version %d", head.Version, streamStateVersion)
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
	case !(s.FrozenSeconds >= 0 && s.FrozenSeconds <= maxFrozen):
		return fmt.Errorf("frozen for %v s", s.FrozenSeconds)
	}
	for _, name := range append([]string{s.Source.Host, s.Source.HostID}, s.LeftOut...) {
		if err := checkStreamName(name); err != nil {
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
