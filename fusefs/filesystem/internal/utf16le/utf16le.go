// Package utf16le turns the names that Windows filesystems keep, little-endian UTF-16, into
// the bytes that Linux shows, and compares them the way Windows does.
//
// A guest can write any 16 bits. It must never make two different names alike: half a
// surrogate pair becomes the three bytes that UTF-8 would give it if it were a character (WTF-8),
// as ntfs-3g does it.
package utf16le

import (
	"encoding/binary"
	"unicode/utf16"
	"unicode/utf8"
)

// Decode returns the name in raw, of len(raw)/2 units. What cannot be in a name on
// Linux, '/' and NUL, becomes U+FFFD.
func Decode(raw []byte) string {
	return string(appendName(make([]byte, 0, len(raw)), raw))
}

// DecodeText is Decode for text that is no name: '/' and NUL stay.
func DecodeText(raw []byte) string {
	return string(appendText(make([]byte, 0, len(raw)), raw, false))
}

func appendName(to, raw []byte) []byte { return appendText(to, raw, true) }

func appendText(to, raw []byte, name bool) []byte {
	for i := 0; i+1 < len(raw); i += 2 {
		unit := rune(binary.LittleEndian.Uint16(raw[i:]))
		switch {
		case name && (unit == '/' || unit == 0):
			to = utf8.AppendRune(to, utf8.RuneError)
		case !utf16.IsSurrogate(unit):
			to = utf8.AppendRune(to, unit)
		default:
			pair := rune(utf8.RuneError)
			if i+3 < len(raw) {
				pair = utf16.DecodeRune(unit, rune(binary.LittleEndian.Uint16(raw[i+2:])))
			}
			if pair == utf8.RuneError {
				to = append(to, 0xe0|byte(unit>>12), 0x80|byte(unit>>6)&0xbf, 0x80|byte(unit)&0xbf)
				continue
			}
			to = utf8.AppendRune(to, pair)
			i += 2
		}
	}
	return to
}

// Encode returns the units of a name. It is the inverse of Decode, but for U+FFFD, and
// false for bytes that no name decodes to.
func Encode(name string) ([]uint16, bool) {
	units := make([]uint16, 0, len(name))
	for i := 0; i < len(name); {
		r, size := utf8.DecodeRuneInString(name[i:])
		if r == utf8.RuneError && size == 1 {
			unit, ok := halfPair(name[i:])
			if !ok {
				return nil, false
			}
			units = append(units, unit)
			i += 3
			continue
		}
		units = utf16.AppendRune(units, r)
		i += size
	}
	return units, true
}

// halfPair reads the three bytes of half a surrogate pair, which UTF-8 does not allow.
func halfPair(s string) (uint16, bool) {
	if len(s) < 3 || s[0] != 0xed || s[1] < 0xa0 || s[1] > 0xbf || s[2] < 0x80 || s[2] > 0xbf {
		return 0, false
	}
	return 0xd000 | uint16(s[1]&0x3f)<<6 | uint16(s[2]&0x3f), true
}
