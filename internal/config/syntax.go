package config

import (
	"cmp"
	"errors"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// syntaxError tells of a text that is not YAML.
func syntaxError(err error, data []byte, f *findings) {
	at, message := position{}, err.Error()
	var e *yaml.LoadError
	if errors.As(err, &e) {
		message = strings.TrimPrefix(e.Message, "yaml: ")
		mark := e.Mark
		if strings.Contains(message, "end of stream") && e.ContextMark.Line > 0 {
			mark = e.ContextMark // where the quote was opened
		}
		at = position{mark.Line, mark.Column}
	}
	if strings.Contains(message, "no documents") {
		f.add(position{1, 1}, "the file says nothing: see vmsync config example")
		return
	}
	if at.line == 0 { // the library does not always know
		at = placeOf(string(data), strange(string(data), message))
	}
	at = position{max(at.line, 1), max(at.column, 1)}
	f.add(at, "not YAML: %s: %s", message, remedy(message))
}

// strange is the offset of what the library stumbled over without saying where.
func strange(text, message string) int {
	if strings.Contains(message, "single document") {
		return cmp.Or(strings.LastIndex(text, "\n---"), 0) + 1
	}
	for i, r := range text {
		_, size := utf8.DecodeRuneInString(text[i:])
		if r == utf8.RuneError && size == 1 || r < ' ' && !strings.ContainsRune("\t\n\r", r) || r >= 0x7f && r < 0xa0 && r != 0x85 {
			return i
		}
	}
	return 0
}

// placeOf turns an offset into a position.
func placeOf(text string, offset int) position {
	before := text[:min(offset, len(text))]
	lineBegin := strings.LastIndexByte(before, '\n') + 1
	return position{strings.Count(before, "\n") + 1, utf8.RuneCountInString(before[lineBegin:]) + 1}
}

// remedy says what to do about a message of the library's.
func remedy(message string) string {
	for _, r := range [][2]string{
		{"found character that cannot start any token", "indent with spaces, not with tabs, and put quotes around text that begins with @, % or `"},
		{"unknown anchor", "put quotes around text that begins with *"},
		{"expected alphabetic or numeric character", "put quotes around text that begins with * or &"},
		{"control characters", "save the file as UTF-8 text"},
		{"UTF-8", "save the file as UTF-8 text"},
		{"mapping values are not allowed", "look at the indentation, and put quotes around text that has a colon and a blank in it"},
		{"did not find expected key", "keys that belong together begin in the same column"},
		{"single document", "keep one of them, and remove the line ---"},
		{"end of stream", "a quote that begins here is not closed"},
		{"',' or ']'", "close the bracket, or put a comma between the values"},
		{"',' or '}'", "close the brace, or put a comma between the values"},
		{"node content", "a value or a closing bracket is missing"},
		{"'-' indicator", "the items of one list begin in the same column"},
		{"block sequence entries", "a list begins on a line of its own, or is written in brackets"},
		{"exceeded max depth", "nothing here goes that deep"},
		{"expected ':'", "a key is followed by a colon and a blank"},
	} {
		if strings.Contains(message, r[0]) {
			return r[1]
		}
	}
	return "look at the indentation, and at quotes and brackets that are not closed"
}
