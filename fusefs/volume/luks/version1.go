package luks

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"vmsync/fusefs/device"
)

const (
	header1Size = 592
	slotEnabled = 0x00ac71f3
	slots1      = 8
)

// readVersion1 reads the header of LUKS1 specification, section 3.
func readVersion1(d device.Device) (*Header, error) {
	raw := make([]byte, header1Size)
	if _, err := d.ReadAt(raw, 0); err != nil {
		return nil, fmt.Errorf("reading the LUKS header: %w", err)
	}
	be := binary.BigEndian
	encryption := text(raw[8:40]) + "-" + text(raw[40:72])
	hash := text(raw[72:104])
	start, keySize := int64(be.Uint32(raw[104:]))*sector, int(be.Uint32(raw[108:]))
	h := &Header{
		Version: 1, UUID: text(raw[168:208]), device: d,
		payload: payload{area{start, (d.Size() - start) / sector * sector}, encryption, sector, 0},
		digest: []digest{{
			kdf: kdf{kind: "pbkdf2", hash: hash, salt: raw[132:164], iterations: int64(be.Uint32(raw[164:]))},
			sum: raw[112:132],
		}},
	}
	for i := range slots1 {
		raw := raw[208+48*i:]
		if be.Uint32(raw) != slotEnabled {
			continue
		}
		s := slot{
			name: fmt.Sprint(i), keySize: keySize, areaKeySize: keySize, encryption: encryption, splitHash: hash,
			kdf:     kdf{kind: "pbkdf2", hash: hash, salt: raw[8:40], iterations: int64(be.Uint32(raw[4:]))},
			area:    area{off: int64(be.Uint32(raw[40:])) * sector},
			stripes: int(be.Uint32(raw[44:])),
		}
		s.err = s.check(d)
		h.slots = append(h.slots, s)
	}
	return h, nil
}

// text is what comes before the first zero.
func text(b []byte) string {
	b, _, _ = bytes.Cut(b, []byte{0})
	return string(b)
}
