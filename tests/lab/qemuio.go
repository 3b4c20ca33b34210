package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// QemuIO runs one qemu-io command ("write -P 0xab 1M 192k", "read -P 0 0 64k",
// "discard 1M 1M", "flush") on a disk of a machine that runs or is paused,
// through qemu's monitor, as if the guest had done it: dirty bitmaps see it. It
// returns what qemu-io printed; what it printed of a failure is an error. A
// write is not flushed. Use a machine from one goroutine at a time.
func (m *Machine) QemuIO(ctx context.Context, target, command string) (string, error) {
	said, err := m.QemuIOBatch(ctx, []DiskCommand{{target, command}})
	if len(said) == 0 {
		return "", err
	}
	return said[0], err
}

// complaint is what qemu-io printed, as an error if it tells of a failure.
func complaint(out string) error {
	for _, bad := range []string{"failed", "not found", "nvalid", "usage", "error", "not parseable"} {
		if strings.Contains(out, bad) {
			return errors.New(out)
		}
	}
	return nil
}

// waitLog returns what the log says between offset and the line mark.
func waitLog(ctx context.Context, path string, offset int64, mark string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for {
		b, err := io.ReadAll(io.NewSectionReader(f, offset, 1<<20))
		if err != nil {
			return "", err
		}
		if out, _, ok := strings.Cut(string(b), mark); ok {
			return strings.TrimSpace(out), nil
		}
		if err := sleep(ctx, 10*time.Millisecond); err != nil {
			return "", fmt.Errorf("its end does not appear in qemu's log: %w", err)
		}
	}
}

// Fill kinds of a [Change] that are not patterns.
const (
	Zero    = -1 // write zeros without data
	Discard = -2 // give the blocks back
)

// Change is a range of a disk, in bytes, and what it is to hold: bytes of the value
// Pattern (0 to 255), or what [Zero] or [Discard] leave.
type Change struct {
	Target         string // disk, as vda
	Offset, Length int64
	Pattern        int
}

// Dirty makes one change; see [Machine.DirtyAll].
func (m *Machine) Dirty(ctx context.Context, target string, offset, length int64, pattern int) error {
	return m.DirtyAll(ctx, []Change{{target, offset, length, pattern}})
}

// DirtyAll makes changes in their order, and flushes the disks.
func (m *Machine) DirtyAll(ctx context.Context, changes []Change) error {
	var commands []DiskCommand
	var wants []string
	flushed := map[string]bool{}
	var flushes []DiskCommand
	for _, c := range changes {
		more, err := c.commands(&wants)
		if err != nil {
			return fmt.Errorf("dirty disk %s of machine %s: %w", c.Target, m.name, err)
		}
		commands = append(commands, more...)
		if !flushed[c.Target] {
			flushed[c.Target], flushes = true, append(flushes, DiskCommand{c.Target, "flush"})
		}
	}
	said, err := m.QemuIOBatch(ctx, append(commands, flushes...))
	if err != nil {
		return err
	}
	for i, want := range wants {
		if !strings.Contains(said[i], want) {
			return fmt.Errorf("qemu-io %q on disk %s of machine %s: no %q in %q", commands[i].Command, commands[i].Target, m.name, want, said[i])
		}
	}
	return nil
}

// commands are qemu-io's for the change; what each has to say is added to wants.
func (c Change) commands(wants *[]string) (all []DiskCommand, err error) {
	if c.Offset < 0 || c.Length <= 0 {
		return nil, fmt.Errorf("impossible range %d+%d", c.Offset, c.Length)
	}
	var verb string
	switch {
	case c.Pattern == Zero:
		verb = "write -z"
	case c.Pattern == Discard:
		verb = "discard"
	case c.Pattern >= 0 && c.Pattern <= 255:
		verb = fmt.Sprintf("write -P %d", c.Pattern)
	default:
		return nil, errors.New("pattern must be a byte, Zero or Discard")
	}
	const most = 1 << 30 // one request of qemu-io is bounded to 2 GiB
	for offset, length := c.Offset, c.Length; length > 0; {
		n := min(length, most)
		all = append(all, DiskCommand{c.Target, fmt.Sprintf("%s %d %d", verb, offset, n)})
		*wants = append(*wants, fmt.Sprintf("%d/%d bytes at offset %d", n, n, offset))
		offset, length = offset+n, length-n
	}
	return all, nil
}
