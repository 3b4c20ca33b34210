package main

import (
	"os"

	"github.com/charmbracelet/colorprofile"
	"golang.org/x/term"

	"vmsync/internal/status"
)

// terminal is what a file of this process is, for those who read it.
type terminal struct {
	is    bool
	moves bool // its cursor can be moved: it can show a screen
	look  status.Look
}

// terminalOf looks at a file. Only a terminal has a width and, unless NO_COLOR or TERM speak
// against it, colours.
func terminalOf(f *os.File) terminal {
	if !term.IsTerminal(int(f.Fd())) {
		return terminal{}
	}
	t := terminal{is: true, moves: os.Getenv("TERM") != "dumb" && os.Getenv("TERM") != ""}
	if width, _, err := term.GetSize(int(f.Fd())); err == nil {
		t.look.Width = width
	}
	t.look.Colours = colorprofile.Detect(f, os.Environ()) >= colorprofile.ANSI
	return t
}
