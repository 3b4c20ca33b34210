// Package termtest is a terminal in memory: a pseudo-terminal, and an emulator that shows
// what is written to it. Tests and make picture look at its screen as a person would.
package termtest

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	uv "github.com/charmbracelet/ultraviolet"
	"github.com/charmbracelet/x/vt"
	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// Screen is such a terminal. Its methods may be called from several goroutines.
type Screen struct {
	tty    *os.File // what programs have open
	master *os.File
	done   sync.WaitGroup

	mu       sync.Mutex
	emulator *vt.Emulator
	written  int64
}

// Open makes a terminal. It must be closed.
func Open(columns, rows int) (*Screen, error) {
	master, tty, err := pty.Open()
	if err != nil {
		return nil, err
	}
	s := &Screen{tty: tty, master: master, emulator: vt.NewEmulator(columns, rows)}
	if err := pty.Setsize(master, size(columns, rows)); err != nil {
		master.Close()
		tty.Close()
		return nil, err
	}
	s.done.Go(func() { _, _ = io.Copy(writer{s}, master) })  // until Close
	s.done.Go(func() { _, _ = io.Copy(master, s.emulator) }) // what the emulator answers
	return s, nil
}

func size(columns, rows int) *pty.Winsize {
	return &pty.Winsize{Cols: uint16(columns), Rows: uint16(rows)}
}

// writer shows what is written.
type writer struct{ s *Screen }

func (w writer) Write(p []byte) (int, error) {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	w.s.written += int64(len(p))
	return w.s.emulator.Write(p)
}

// TTY is the terminal as programs open it.
func (s *Screen) TTY() *os.File { return s.tty }

// Attach has a command that has not started run on the terminal.
func (s *Screen) Attach(cmd *exec.Cmd) {
	cmd.Stdin, cmd.Stdout, cmd.Stderr = s.tty, s.tty, s.tty
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true, Setctty: true}
}

// Close takes the terminal away. Programs on it are hung up.
func (s *Screen) Close() error {
	err := s.tty.Close()
	if merr := s.master.Close(); err == nil {
		err = merr
	}
	if p, ok := s.emulator.InputPipe().(io.Closer); ok {
		p.Close()
	}
	s.done.Wait()
	return err
}

// Type presses keys.
func (s *Screen) Type(keys string) error {
	_, err := io.WriteString(s.master, keys)
	return err
}

// Resize gives the terminal another size, and tells the programs on it.
func (s *Screen) Resize(columns, rows int) error {
	s.mu.Lock()
	s.emulator.Resize(columns, rows)
	s.mu.Unlock()
	return pty.Setsize(s.master, size(columns, rows))
}

// Written is how many bytes programs have written.
func (s *Screen) Written() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.written
}

// Cells are what is on the screen, row by row.
func (s *Screen) Cells() [][]uv.Cell {
	s.mu.Lock()
	defer s.mu.Unlock()
	rows := make([][]uv.Cell, s.emulator.Height())
	for y := range rows {
		rows[y] = make([]uv.Cell, s.emulator.Width())
		for x := range rows[y] {
			if c := s.emulator.CellAt(x, y); c != nil {
				rows[y][x] = *c
			}
		}
	}
	return rows
}

// Text is what is on the screen, without blanks at the ends of lines.
func (s *Screen) Text() string {
	var b strings.Builder
	for _, row := range s.Cells() {
		var line strings.Builder
		for x := 0; x < len(row); x += max(1, row[x].Width) {
			if row[x].Content == "" {
				line.WriteByte(' ')
				continue
			}
			line.WriteString(row[x].Content)
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	return b.String()
}

// AltScreen tells whether a program has taken the whole screen.
func (s *Screen) AltScreen() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.emulator.IsAltScreen()
}

// Cooked tells whether the terminal edits lines and echoes, as a shell expects it.
func (s *Screen) Cooked() (bool, error) {
	t, err := unix.IoctlGetTermios(int(s.tty.Fd()), unix.TCGETS)
	if err != nil {
		return false, err
	}
	const want = unix.ICANON | unix.ECHO | unix.ISIG
	return t.Lflag&want == want, nil
}

// Await waits until the screen is as somebody wants it; its error has the screen.
func (s *Screen) Await(patience time.Duration, what string, f func(text string) bool) error {
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		text := s.Text()
		if f(text) {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("never on the screen: %s\n%s", what, text)
		}
	}
}

// AwaitText is Await for a text.
func (s *Screen) AwaitText(patience time.Duration, text string) error {
	return s.Await(patience, text, func(screen string) bool { return strings.Contains(screen, text) })
}
