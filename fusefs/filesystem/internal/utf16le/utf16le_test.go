package utf16le

import (
	"encoding/binary"
	"slices"
	"testing"
	"unicode/utf16"
)

func raw(units ...uint16) []byte {
	var b []byte
	for _, unit := range units {
		b = binary.LittleEndian.AppendUint16(b, unit)
	}
	return b
}

func TestNamesSurviveBothWays(t *testing.T) {
	for _, name := range []string{"", "plain", "Grüße 世界", "🐧 and 𝔘", "\uffff"} {
		units := utf16.Encode([]rune(name))
		if got := Decode(raw(units...)); got != name {
			t.Errorf("%q decodes as %q", name, got)
		}
		if got, ok := Encode(name); !ok || !slices.Equal(got, units) {
			t.Errorf("%q encodes as %x, %v; want %x", name, got, ok, units)
		}
	}
}

func TestHalfPairsStayApart(t *testing.T) {
	for units, want := range map[[2]uint16]string{
		{0xd83d, 'x'}:    "\xed\xa0\xbdx",
		{'x', 0xd83d}:    "x\xed\xa0\xbd",
		{0xdc27, 0xd83d}: "\xed\xb0\xa7\xed\xa0\xbd",
		{0xdfff, 0xd800}: "\xed\xbf\xbf\xed\xa0\x80",
	} {
		got := Decode(raw(units[:]...))
		if got != want {
			t.Errorf("%x decodes as %q, want %q", units, got, want)
		}
		if back, ok := Encode(got); !ok || !slices.Equal(back, units[:]) {
			t.Errorf("%q encodes as %x, %v; want %x", got, back, ok, units)
		}
	}
}

func TestBytesThatAreNoNameAreRefused(t *testing.T) {
	for _, name := range []string{"\xff", "a\xc3", "\xed\xa0", "\xed\x80\x41"} {
		if units, ok := Encode(name); ok {
			t.Errorf("%q encodes as %x", name, units)
		}
	}
}

func TestSlashAndNulCannotBeInNames(t *testing.T) {
	if got := Decode(raw('a', '/', 0, 'b')); got != "a\ufffd\ufffdb" {
		t.Errorf("decodes as %q", got)
	}
	if got := DecodeText(raw('a', '/', 'b')); got != "a/b" {
		t.Errorf("text decodes as %q", got)
	}
}
