package replicator

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/klauspost/compress/zstd"
)

const (
	// MaxNVRAM and MaxTPM bound what is carried of a domain's firmware, in bytes: the
	// largest variable store there is (of ARM), and several times what a software TPM
	// keeps.
	MaxNVRAM = 64 << 20
	MaxTPM   = 16 << 20
	// maxPacked bounds one Packed as it crosses the connection between controller and
	// agent, in bytes before base64, so that two of them and the domain's XML fit into
	// one message.
	maxPacked = 4 << 20
)

// Packed is a small file on its way between the ends. In JSON it is one zstd frame in
// base64: a store of UEFI variables is nearly empty.
type Packed []byte

// pack returns the zstd frame.
func (p Packed) pack() ([]byte, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedBetterCompression))
	if err != nil {
		return nil, fmt.Errorf("pack: %w", err)
	}
	defer enc.Close()
	return enc.EncodeAll(p, nil), nil
}

// Portable returns an error if p is too large to be carried.
func (p Packed) Portable() error { return p.fits(maxPacked) }

// fits returns an error if p takes more than most bytes when packed.
func (p Packed) fits(most int) error {
	if len(p) == 0 {
		return nil
	}
	b, err := p.pack()
	if err != nil {
		return err
	}
	if len(b) > most {
		return fmt.Errorf("their %d bytes compress to %d, more than %d", len(p), len(b), most)
	}
	return nil
}

// MarshalJSON implements json.Marshaler.
func (p Packed) MarshalJSON() ([]byte, error) {
	if len(p) == 0 {
		return []byte("null"), nil
	}
	b, err := p.pack()
	if err != nil {
		return nil, err
	}
	return json.Marshal(b)
}

// UnmarshalJSON implements json.Unmarshaler. What it reads may come from anybody: it
// takes no more memory than MaxNVRAM and some.
func (p *Packed) UnmarshalJSON(text []byte) error {
	var b []byte
	if err := json.Unmarshal(text, &b); err != nil {
		return err
	}
	if len(b) == 0 {
		*p = nil
		return nil
	}
	if len(b) > maxPacked {
		return fmt.Errorf("a packed file of %d bytes, more than %d", len(b), maxPacked)
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(MaxNVRAM))
	if err != nil {
		return fmt.Errorf("unpack: %w", err)
	}
	defer dec.Close()
	out, err := dec.DecodeAll(b, nil)
	if err != nil {
		return fmt.Errorf("unpack: %w", err)
	}
	if len(out) > MaxNVRAM {
		return errors.New("a packed file is too large")
	}
	*p = out
	return nil
}
