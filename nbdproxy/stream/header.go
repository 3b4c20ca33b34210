package stream

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/zeebo/xxh3"
)

// magic opens a stream. Its line ends are mangled, and so found out, by whatever
// takes the stream for text.
const magic = "vmsync\r\n"

// prefaceSize is the length of what precedes the JSON header: magic, version,
// header length and checksum.
const prefaceSize = 24

// Header names what a stream carries.
type Header struct {
	Domain     string `json:"domain"`
	Checkpoint string `json:"checkpoint"`
	Parent     string `json:"parent,omitempty"` // empty when nothing builds on a checkpoint
	Disks      []Disk `json:"disks"`
	// State is what a receiver that cannot ask the source needs to make a state of
	// the stream: a JSON object, absent from a stream whose two ends talk to each
	// other. This package carries it and never looks into it.
	State json.RawMessage `json:"state,omitempty"`
}

// Disk is one disk of a stream; frames name it by its index in [Header.Disks].
type Disk struct {
	Name string `json:"name"` // target device, e.g. "vda"
	Size int64  `json:"size"` // bytes, at least 1
	// Incremental disks carry what changed since Header.Parent, or, without one, what is
	// not as the receiver said that it has it. The others are full: their extents cover
	// the disk exactly.
	Incremental bool `json:"incremental"`
}

// Validate tells why the header breaks the rules of docs/STREAM.md, or nil.
func (h *Header) Validate() error {
	for _, s := range []struct{ what, name string }{
		{"domain", h.Domain}, {"checkpoint", h.Checkpoint},
	} {
		if s.name == "" {
			return fmt.Errorf("header names no %s", s.what)
		}
	}
	for _, name := range []string{h.Domain, h.Checkpoint, h.Parent} {
		if len(name) > MaxName {
			return fmt.Errorf("a name in the header is %d bytes long, more than %d", len(name), MaxName)
		}
	}
	if h.State != nil && !bytes.HasPrefix(h.State, []byte("{")) {
		return errors.New("the header's state is not a JSON object")
	}
	if n := len(h.Disks); n == 0 || n > MaxDisks {
		return fmt.Errorf("header names %d disks; 1 to %d are allowed", n, MaxDisks)
	}
	seen := make(map[string]bool, len(h.Disks))
	for _, d := range h.Disks {
		switch {
		case d.Name == "" || len(d.Name) > MaxName:
			return fmt.Errorf("a disk's name is %d bytes long; 1 to %d are allowed", len(d.Name), MaxName)
		case seen[d.Name]:
			return fmt.Errorf("disk %q is named twice", d.Name)
		case d.Size < 1 || d.Size > MaxSize:
			return fmt.Errorf("disk %q has %d bytes; 1 to %d are allowed", d.Name, d.Size, int64(MaxSize))
		}
		seen[d.Name] = true
	}
	return nil
}

// marshal returns the header as it is written, and the stream's key: the checksum
// that seeds every other hash, so that no frame of another stream fits this one.
func (h *Header) marshal() ([]byte, uint64, error) {
	if err := h.Validate(); err != nil {
		return nil, 0, err
	}
	doc, err := json.Marshal(h)
	if err != nil {
		return nil, 0, fmt.Errorf("encoding the stream's header: %w", err)
	}
	if len(doc) > MaxHeader {
		return nil, 0, fmt.Errorf("the stream's header is %d bytes long, more than %d", len(doc), MaxHeader)
	}
	b := make([]byte, prefaceSize+len(doc))
	copy(b, magic)
	binary.LittleEndian.PutUint32(b[8:], Version)
	binary.LittleEndian.PutUint32(b[12:], uint32(len(doc)))
	copy(b[prefaceSize:], doc)
	key := headerKey(b[:prefaceSize], doc)
	binary.LittleEndian.PutUint64(b[16:], key)
	return b, key, nil
}

// headerKey is the checksum over the preface before its checksum field, and the
// JSON.
func headerKey(preface, doc []byte) uint64 {
	h := xxh3.New()
	_, _ = h.Write(preface[:16])
	_, _ = h.Write(doc)
	return h.Sum64()
}

// ReadHeader reads preface and header from r and not a byte more. It returns the
// header and the bytes it came as, so that whoever only routes a stream can pass it
// on whole. It takes no more memory than [MaxHeader] allows, whatever r brings; its
// errors are [ErrTruncated], [ErrInvalid] and the reader's own.
func ReadHeader(r io.Reader) (*Header, []byte, error) {
	preface := make([]byte, prefaceSize)
	if err := readFull(r, preface); err != nil {
		return nil, nil, err
	}
	h, raw, _, err := readSealed(preface, r)
	return h, raw, err
}

// readHeader returns the header behind a preface, and the stream's key.
func readHeader(preface []byte, r io.Reader) (*Header, uint64, error) {
	h, _, key, err := readSealed(preface, r)
	return h, key, err
}

// readSealed reads what marshal wrote, from behind the preface on. It also returns
// both as they came.
func readSealed(preface []byte, r io.Reader) (*Header, []byte, uint64, error) {
	refuse := func(format string, args ...any) (*Header, []byte, uint64, error) {
		return nil, nil, 0, fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...)
	}
	if string(preface[:8]) != magic {
		return refuse("it does not begin with the magic of a vmsync stream")
	}
	if v := binary.LittleEndian.Uint32(preface[8:]); v != Version {
		return refuse("version %d; this program knows version %d", v, Version)
	}
	n := binary.LittleEndian.Uint32(preface[12:])
	if n > MaxHeader {
		return refuse("header of %d bytes, more than %d", n, MaxHeader)
	}
	raw := append(preface[:prefaceSize:prefaceSize], make([]byte, n)...)
	doc := raw[prefaceSize:]
	if err := readFull(r, doc); err != nil {
		return nil, nil, 0, err
	}
	key := headerKey(preface, doc)
	if key != binary.LittleEndian.Uint64(preface[16:]) {
		return refuse("the header does not match its checksum")
	}
	h, err := parseHeader(doc)
	if err != nil {
		return refuse("%w", err)
	}
	return h, raw, key, nil
}

// parseHeader refuses unknown fields: they would change what the stream means.
func parseHeader(doc []byte) (*Header, error) {
	d := json.NewDecoder(bytes.NewReader(doc))
	d.DisallowUnknownFields()
	h := new(Header)
	if err := d.Decode(h); err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("header: more than one JSON value")
	}
	return h, h.Validate()
}

// readFull reads len(b) bytes; an end before that is [ErrTruncated].
func readFull(r io.Reader, b []byte) error {
	_, err := io.ReadFull(r, b)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return ErrTruncated
	}
	if err != nil {
		return fmt.Errorf("reading the stream: %w", err)
	}
	return nil
}
