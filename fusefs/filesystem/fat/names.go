package fat

import (
	"bytes"
	"encoding/binary"
	"strings"
	"unicode"
	"unicode/utf8"

	"vmsync/fusefs/filesystem/internal/utf16le"
)

// codePage437 is what the bytes from 128 on mean.
var codePage437 = [128]rune([]rune("ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐" +
	"└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u00a0"))

// Flags of Windows NT in byte 12 of an entry: which part of a short name is in lower case.
const (
	lowerBase = 0x08
	lowerExt  = 0x10
)

// writeText writes characters of the code page without the spaces that fill a field.
func writeText(b *strings.Builder, raw []byte, lower bool) {
	for _, c := range bytes.TrimRight(raw, " ") {
		letter := rune(c)
		switch {
		case c == '/' || c == 0:
			letter = utf8.RuneError
		case c >= 0x80:
			letter = codePage437[c-0x80]
		}
		if lower {
			letter = unicode.ToLower(letter)
		}
		b.WriteRune(letter)
	}
}

// label is what an entry says that holds the filesystem's label.
func (r *record) label() string {
	var b strings.Builder
	writeText(&b, r[:11], false)
	return b.String()
}

// shortName is the name of 8.3 characters in an entry.
func (r *record) shortName() string {
	var b strings.Builder
	base := [8]byte(r[:8])
	if base[0] == 0x05 {
		base[0] = 0xe5 // which as it is would mark the entry as free
	}
	writeText(&b, base[:], r[12]&lowerBase != 0)
	if ext := bytes.TrimRight(r[8:11], " "); len(ext) > 0 {
		b.WriteByte('.')
		writeText(&b, ext, r[12]&lowerExt != 0)
	}
	return b.String()
}

// checksum ties the parts of a long name to the entry that they are for, section 7.2.
func (r *record) checksum() byte {
	var sum byte
	for _, c := range r[:11] {
		sum = sum>>1 + sum<<7 + c
	}
	return sum
}

const (
	unitsPerPart = 13
	maxParts     = 20
	maxUnits     = 255
)

// A longName gathers the parts of a long name, which come last part first, section 7.
type longName struct {
	raw   [maxParts * unitsPerPart * 2]byte
	parts int // how many there are, 0 while none are being gathered
	next  int // the ordinal of the part that has to come, 0 when all are there
	sum   byte
}

func (n *longName) reset() { n.parts = 0 }

// add takes the next part; one that does not fit to those before discards them.
func (n *longName) add(r *record) {
	ordinal := int(r[0] & 0x3f)
	if r[0]&0x40 != 0 {
		if ordinal == 0 || ordinal > maxParts {
			n.reset()
			return
		}
		n.parts, n.next, n.sum = ordinal, ordinal, r[13]
	}
	if n.parts == 0 || n.next == 0 || ordinal != n.next || r[13] != n.sum {
		n.reset()
		return
	}
	n.next--
	to := n.raw[n.next*unitsPerPart*2:]
	copy(to, r[1:11])
	copy(to[10:], r[14:26])
	copy(to[22:], r[28:32])
}

// name returns the long name for the entry that followed the parts, false where there is none.
func (n *longName) name(r *record) (string, bool) {
	if n.parts == 0 || n.next != 0 || n.sum != r.checksum() {
		return "", false
	}
	units := n.parts * unitsPerPart
	for i := range units {
		if binary.LittleEndian.Uint16(n.raw[2*i:]) == 0 {
			units = i
			break
		}
	}
	name := utf16le.Decode(n.raw[:2*units])
	if units == 0 || units > maxUnits || name == "." || name == ".." {
		return "", false
	}
	return name, true
}

// fold makes names that differ in case alone the same.
func fold(name string) string {
	if !utf8.ValidString(name) {
		return name
	}
	return strings.ToUpper(name)
}
