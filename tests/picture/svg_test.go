package main

import (
	"encoding/xml"
	"io"
	"strings"
	"testing"

	"vmsync/internal/termtest"
)

// TestPictureHasWhatTheScreenHas draws a screen with colours, signs that SVG escapes, and
// characters beyond ASCII.
func TestPictureHasWhatTheScreenHas(t *testing.T) {
	s, err := termtest.Open(40, 3)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := io.WriteString(s.TTY(), "\x1b[1mvm1\x1b[0m  \x1b[31m<broken> & █\x1b[0m\r\n   ▁▂ \x1b[2mfaint"); err != nil {
		t.Fatal(err)
	}
	if err := s.AwaitText(1e10, "faint"); err != nil {
		t.Fatal(err)
	}
	picture := svg(s.Cells())
	for dec := xml.NewDecoder(strings.NewReader(picture)); ; {
		if _, err := dec.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatalf("%v in\n%s", err, picture)
		}
	}
	for _, want := range []string{
		`<text x="16.0" y="29.5" textLength="25.2" lengthAdjust="spacingAndGlyphs" fill="#d5d8de" font-weight="bold">vm1</text>`,
		`<text x="58.0" y="29.5" textLength="100.8" lengthAdjust="spacingAndGlyphs" fill="#f0716b">&lt;broken&gt; &amp; █</text>`,
		`<text x="41.2" y="47.5" textLength="16.8" lengthAdjust="spacingAndGlyphs" fill="#d5d8de">▁▂</text>`,
		`fill="#d5d8de" opacity="0.6">faint</text>`,
	} {
		if !strings.Contains(picture, want) {
			t.Errorf("no %s in\n%s", want, picture)
		}
	}
}
