package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Error is one thing that is wrong with a configuration, and what to do about it.
type Error struct {
	File         string
	Line, Column int // from 1
	Message      string
}

// Error gives "file:line:column: what is wrong: what to do".
func (e *Error) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Message)
}

// Errors are all that was found wrong with a configuration, in the order of the file,
// one or more.
type Errors []*Error

// Error gives the errors one per line.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i := range e {
		lines[i] = e[i].Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap lets errors.As find an [Error].
func (e Errors) Unwrap() []error {
	all := make([]error, len(e))
	for i := range e {
		all[i] = e[i]
	}
	return all
}

// maxErrors bounds what is told of one configuration.
const maxErrors = 50

// position is a place in the file, from 1.
type position struct{ line, column int }

// findings collects what is wrong.
type findings struct {
	file string
	all  Errors
	told map[Error]bool
	more int
}

// add notes one thing that is wrong, once: what is wrong with defaults would otherwise be
// told for each machine.
func (f *findings) add(at position, format string, args ...any) {
	e := Error{f.file, at.line, at.column, oneLine(fmt.Sprintf(format, args...))}
	switch {
	case f.told[e]:
		return
	case len(f.all) == maxErrors:
		f.more++
		return
	case f.told == nil:
		f.told = map[Error]bool{}
	}
	f.told[e] = true
	f.all = append(f.all, &e)
}

// err is all of it as one error, nil if there is none.
func (f *findings) err() error {
	if len(f.all) == 0 {
		return nil
	}
	slices.SortStableFunc(f.all, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	if f.more > 0 {
		last := f.all[len(f.all)-1]
		last.Message += fmt.Sprintf(" (and %d more errors: correct these first)", f.more)
	}
	return f.all
}

// oneLine keeps what a message quotes of the file from spreading over several lines or
// reaching a terminal, and bounds it.
func oneLine(s string) string {
	const most = 400
	if runes := []rune(s); len(runes) > most {
		s = string(runes[:most]) + "…"
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}
