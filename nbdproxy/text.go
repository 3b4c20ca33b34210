package nbdproxy

import (
	"strings"
	"unicode"
)

// maxMessage bounds the messages sent to clients, in bytes.
const maxMessage = 512

// printable makes text fit to be shown by whoever gets it: valid UTF-8, one line, no
// control characters, at most maxMessage bytes.
func printable(s string) string {
	var b strings.Builder
	for _, r := range s {
		if !unicode.IsPrint(r) {
			r = unicode.ReplacementChar
		}
		if b.Len()+len(string(r)) > maxMessage {
			break
		}
		b.WriteRune(r)
	}
	return b.String()
}
