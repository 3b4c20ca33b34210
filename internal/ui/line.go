package ui

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/mattn/go-runewidth"
)

// Style is how a piece of text stands out where there are colours. It never says anything
// that the text does not.
type Style uint8

// Styles.
const (
	Plain Style = iota
	Good
	Warn
	Bad
	Faint
	Strong
	Accent
)

// sgr are the styles' parameters of the control sequence SGR (ECMA-48). Only the eight
// colours that every terminal has a theme for.
var sgr = [...]string{Good: "32", Warn: "33", Bad: "31", Faint: "2", Strong: "1", Accent: "36"}

// Span is a piece of text in one style. A terminal takes nothing in it for a command.
type Span struct {
	style Style
	text  string
}

// Line is one line of text, without its end.
type Line []Span

// Text is a line of one piece. What a terminal would take for a command is shown escaped.
func Text(style Style, text string) Line { return Line{{style, Visible(text)}} }

// Words is a line of one piece in no style.
func Words(text string) Line { return Text(Plain, text) }

// Visible shows what cannot be seen, or would be obeyed, as Go writes it in a string: \x1b,
// \n, \u202e.
func Visible(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return r == utf8.RuneError || !unicode.IsPrint(r) }) {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == utf8.RuneError && s[i] != "\uFFFD"[0]:
			b.WriteString(`\x` + strconv.FormatUint(uint64(s[i]), 16))
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			quoted := strconv.QuoteRuneToASCII(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
	}
	return b.String()
}

// Width is how many columns the line takes.
func (l Line) Width() (sum int) {
	for _, s := range l {
		sum += runewidth.StringWidth(s.text)
	}
	return sum
}

// Cut shortens the line to a width, with an ellipsis for what is missing.
func (l Line) Cut(width int) Line {
	if width <= 0 {
		return nil
	}
	if l.Width() <= width {
		return l
	}
	var out Line
	left := width
	for _, s := range l {
		w := runewidth.StringWidth(s.text)
		if w >= left {
			// Of one that fills the line exactly more is to come: it gives a column away.
			return append(out, Span{s.style, runewidth.Truncate(s.text+"…", left, "…")})
		}
		out, left = append(out, s), left-w
	}
	return out
}

// pad makes the line at least so wide.
func (l Line) pad(width int, right bool) Line {
	n := width - l.Width()
	switch {
	case n <= 0:
		return l
	case right:
		return append(Line{{text: strings.Repeat(" ", n)}}, l...)
	}
	return append(l[:len(l):len(l)], Span{text: strings.Repeat(" ", n)})
}

// Plain is the line's text.
func (l Line) Plain() string { return l.Paint(false) }

// Paint is the line as a terminal is sent it, with colours or without. Blanks at its end
// are left out.
func (l Line) Paint(colours bool) string {
	for len(l) > 0 {
		last := l[len(l)-1]
		last.text = strings.TrimRight(last.text, " ")
		l = l[:len(l)-1]
		if last.text != "" {
			l = append(l[:len(l):len(l)], last)
			break
		}
	}
	var b strings.Builder
	for _, s := range l {
		if code := sgr[s.style]; code != "" && colours {
			b.WriteString("\x1b[" + code + "m" + s.text + "\x1b[0m")
			continue
		}
		b.WriteString(s.text)
	}
	return b.String()
}
