package ui

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/mattn/go-runewidth"
	"golang.org/x/sys/unix"

	"vmsync/internal/event"
)

// screen is as much of a terminal as the output makes use of; anything else in it
// fails the test.
type screen struct {
	t        *testing.T
	lines    []string
	row, col int
	widest   int
	bars     int // lines with a bar ever shown
}

func (s *screen) feed(text string) {
	s.t.Helper()
	for len(text) > 0 {
		switch {
		case text[0] == '\n':
			s.row++
			text = text[1:]
		case text[0] == '\r':
			s.col = 0
			text = text[1:]
		case text[0] == 0x1b:
			var n, used int
			if _, err := fmt.Sscanf(text, "\x1b[%dA", &n); err == nil {
				s.row -= n
				used = strings.IndexByte(text, 'A') + 1
				if s.row < 0 {
					s.t.Fatal("the cursor left the screen")
				}
			} else if strings.HasPrefix(text, "\x1b[J") {
				used = 3
				if s.col != 0 {
					s.t.Fatal("erased from the middle of a line")
				}
				s.lines = s.lines[:min(s.row, len(s.lines))]
			} else {
				s.t.Fatalf("unknown escape sequence %q", text[:min(len(text), 10)])
			}
			text = text[used:]
		default:
			c, n := utf8.DecodeRuneInString(text)
			s.put(c)
			text = text[n:]
		}
	}
}

func (s *screen) put(c rune) {
	for len(s.lines) <= s.row {
		s.lines = append(s.lines, "")
	}
	line := s.lines[s.row]
	if runewidth.StringWidth(line) != s.col {
		s.t.Fatalf("%q is written over column %d of %q", c, s.col, line)
	}
	s.lines[s.row] = line + string(c)
	s.col += runewidth.RuneWidth(c)
	s.widest = max(s.widest, s.col)
	if c == '#' {
		s.bars++
	}
}

// openPTY returns both ends of a pseudo terminal of 80 columns.
func openPTY(t *testing.T) (master, slave *os.File) {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skip(err)
	}
	master = os.NewFile(uintptr(fd), "ptmx")
	t.Cleanup(func() { master.Close() })
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip(err)
	}
	if err := unix.IoctlSetWinsize(int(slave.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 80}); err != nil {
		t.Fatal(err)
	}
	return master, slave
}

// onTerminal runs play with an output on a terminal and returns what is on the
// screen in the end.
func onTerminal(t *testing.T, separateErr bool, play func(event.Sink)) *screen {
	t.Helper()
	master, slave := openPTY(t)
	raw := make(chan string)
	go func() {
		text, _ := io.ReadAll(master) // ends with an error when the last slave is closed
		raw <- string(text)
	}()
	options := Options{IsTerminal: true, Out: slave}
	var errEnd *os.File
	if separateErr {
		fd, err := unix.Dup(int(slave.Fd()))
		if err != nil {
			t.Fatal(err)
		}
		errEnd = os.NewFile(uintptr(fd), "stderr")
		options.Err = errEnd
	}
	o := New(options)
	play(o)
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	slave.Close()
	if errEnd != nil {
		errEnd.Close()
	}
	s := &screen{t: t}
	text := <-raw
	s.feed(text)
	if s.col != 0 || !strings.HasSuffix(text, "\n") && !strings.HasSuffix(text, "\x1b[J") {
		t.Errorf("the last line is not complete: %q", text[max(0, len(text)-40):])
	}
	if s.widest > 80 {
		t.Errorf("a line of %d columns", s.widest)
	}
	return s
}

// transfer emits progress for as long as it takes to be drawn a few times.
func transfer(s event.Sink) {
	s.Emit(event.PhaseStarted{Phase: event.PhaseTransfer})
	for i := int64(1); i <= 8; i++ {
		s.Emit(event.Progress{Disk: "vda", Done: i << 20, Total: 16 << 20})
		s.Emit(event.Progress{Disk: "vdb", Done: i << 30, Total: 16 << 30})
		if i == 4 {
			s.Emit(event.Warning{Message: "something is odd"})
			s.Emit(event.Notice{Message: "nothing to worry about"})
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func TestTerminalKeepsOneLineForEachPhase(t *testing.T) {
	for name, separate := range map[string]bool{"one stream": false, "two streams": true} {
		t.Run(name, func(t *testing.T) {
			s := onTerminal(t, separate, func(sink event.Sink) {
				sink.Emit(event.PhaseStarted{Phase: event.PhaseInspect})
				sink.Emit(event.PhaseFinished{Phase: event.PhaseInspect, Duration: 300 * time.Millisecond, Detail: "full"})
				transfer(sink)
				sink.Emit(event.PhaseFinished{Phase: event.PhaseTransfer, Duration: 1500 * time.Millisecond})
				sink.Emit(summary)
			})
			want := []string{
				"✓ inspect: full (300 ms)",
				"warning: something is odd",
				"  nothing to worry about",
				"✓ transfer (1.5 s)",
				"vm1: state 2026-11-21T070301Z, mixed, filesystem-consistent",
				"  4.0 GiB data and 1.0 GiB zeros changed; 42.3 s in all, frozen 41 ms",
				"  1.2 GiB sent over SSH in 25.0 s, 49.2 MiB/s, compressed 3.3:1",
				"  not directly: connection refused",
			}
			if !slices.Equal(s.lines, want) {
				t.Errorf("on the screen:\n%s", strings.Join(s.lines, "\n"))
			}
			if s.bars == 0 {
				t.Error("no bar was ever drawn")
			}
		})
	}
}

func TestErrorComesAfterTheBarsAreGone(t *testing.T) {
	s := onTerminal(t, true, func(sink event.Sink) {
		transfer(sink)
		sink.Emit(event.Error{Message: "connection to hostb ended", Domain: "vm1", Hint: "run it again"})
	})
	want := []string{
		"warning: something is odd",
		"  nothing to worry about",
		"✗ transfer",
		"error: vm1: connection to hostb ended",
		"  run it again",
	}
	if !slices.Equal(s.lines, want) {
		t.Errorf("on the screen:\n%s", strings.Join(s.lines, "\n"))
	}
}

func TestCloseInTheMiddleLeavesNoBars(t *testing.T) {
	s := onTerminal(t, false, transfer)
	if want := []string{"warning: something is odd", "  nothing to worry about"}; !slices.Equal(s.lines, want) {
		t.Errorf("on the screen:\n%s", strings.Join(s.lines, "\n"))
	}
}
