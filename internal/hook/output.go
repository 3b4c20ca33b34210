package hook

import (
	"bytes"
	"fmt"
	"strings"
	"unicode"
)

// Bounds of what is passed on of a program's output, in bytes. What is over them is read
// and dropped.
const (
	maxLine   = 1000     // longer ones are broken
	maxPassed = 64 << 10 // of all lines
	maxLines  = 1000
	maxEnd    = 1000 // kept for the error
)

// Output takes what a program writes: it passes lines on while there are not too many, and
// keeps the end. Lines have no control characters and are valid UTF-8. It is for one
// goroutine.
type Output struct {
	line func(string)

	begun  []byte // a line that is not complete
	passed int    // bytes
	lines  int
	end    []string // the last lines, of maxEnd bytes in all or a little more
	size   int      // of end
}

// NewOutput makes an Output that passes lines on to a function.
func NewOutput(line func(string)) *Output { return &Output{line: line} }

// Write implements io.Writer. It never fails.
func (o *Output) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		part, rest, complete := bytes.Cut(p, []byte{'\n'})
		if room := maxLine - len(o.begun); len(part) > room {
			part, rest, complete = part[:room], p[room:], true
		}
		o.begun = append(o.begun, part...)
		if complete {
			o.take()
		}
		p = rest
	}
	return n, nil
}

// Close passes on a last line that does not end as one.
func (o *Output) Close() {
	if len(o.begun) > 0 {
		o.take()
	}
}

// End is the last that was written, as one line.
func (o *Output) End() string {
	text := strings.Join(o.end, "; ")
	if len(text) > maxEnd {
		text = strings.ToValidUTF8(text[len(text)-maxEnd:], "")
	}
	return text
}

// take takes the line that is complete now.
func (o *Output) take() {
	line := Clean(string(o.begun))
	o.begun = o.begun[:0]
	if line == "" {
		return
	}
	o.end, o.size = append(o.end, line), o.size+len(line)
	for o.size-len(o.end[0]) >= maxEnd {
		o.size -= len(o.end[0])
		o.end = o.end[1:]
	}
	if o.lines > maxLines || o.passed > maxPassed {
		return
	}
	if o.lines, o.passed = o.lines+1, o.passed+len(line); o.lines > maxLines || o.passed > maxPassed {
		line = fmt.Sprintf("(it writes more than %d lines or %d bytes, which are not shown)", maxLines, maxPassed)
	}
	o.line(line)
}

// Clean makes one line of valid UTF-8 without control characters of a text from elsewhere.
func Clean(text string) string {
	text = strings.Map(func(c rune) rune {
		switch {
		case unicode.IsSpace(c):
			return ' '
		case unicode.IsControl(c) || unicode.Is(unicode.Cf, c):
			return unicode.ReplacementChar
		}
		return c
	}, strings.ToValidUTF8(text, string(unicode.ReplacementChar)))
	return strings.TrimSpace(text)
}
