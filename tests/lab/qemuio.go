package lab

import (
	"context"
	"crypto/rand"
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
	if strings.ContainsAny(command, "\"\n") {
		return "", fmt.Errorf("qemu-io command %q: quotes and newlines cannot be passed on", command)
	}
	dev, err := m.qdev(ctx, target)
	if err != nil {
		return "", err
	}
	logPath := m.host.Path("/var/log/libvirt/qemu/" + m.name + ".log")
	st, err := os.Stat(logPath)
	if err != nil {
		return "", err
	}
	// qemu-io's output goes to qemu's log and nowhere else, and some commands print
	// nothing. The complaint about a command that does not exist marks the end.
	mark := "lab-mark-" + rand.Text()[:10]
	for _, c := range []string{command, mark} {
		hmp := fmt.Sprintf("qemu-io -d %s %q", dev, c)
		if _, err := m.host.virsh(ctx, "qemu-monitor-command", "--domain", m.name, "--hmp", hmp); err != nil {
			return "", err
		}
	}
	out, err := waitLog(ctx, logPath, st.Size(), fmt.Sprintf("command %q not found", mark))
	if err != nil {
		return "", fmt.Errorf("qemu-io %q on disk %s of machine %s: %w", command, target, m.name, err)
	}
	if err := complaint(out); err != nil {
		return out, fmt.Errorf("qemu-io %q on disk %s of machine %s: %w", command, target, m.name, err)
	}
	return out, nil
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

// qdev is the path in qemu's object tree of the device behind a disk.
func (m *Machine) qdev(ctx context.Context, target string) (string, error) {
	devices, err := m.qdevs(ctx)
	if err == nil && devices[target] == "" {
		err = fmt.Errorf("machine %s has no disk %s", m.name, target)
	}
	return devices[target], err
}

// Fill kinds of [Machine.Dirty] that are not patterns.
const (
	Zero    = -1 // write zeros without data
	Discard = -2 // give the blocks back
)

// Dirty changes length bytes at offset of a disk, to bytes of the value pattern
// (0 to 255), or by [Zero] or [Discard], and flushes the disk.
func (m *Machine) Dirty(ctx context.Context, target string, offset, length int64, pattern int) error {
	if offset < 0 || length <= 0 {
		return fmt.Errorf("dirty disk %s of machine %s: impossible range %d+%d", target, m.name, offset, length)
	}
	// One request of qemu-io is bounded to 2 GiB.
	const most = 1 << 30
	for length > 0 {
		n := min(length, most)
		var command string
		switch {
		case pattern == Zero:
			command = fmt.Sprintf("write -z %d %d", offset, n)
		case pattern == Discard:
			command = fmt.Sprintf("discard %d %d", offset, n)
		case pattern >= 0 && pattern <= 255:
			command = fmt.Sprintf("write -P %d %d %d", pattern, offset, n)
		default:
			return errors.New("pattern must be a byte, Zero or Discard")
		}
		out, err := m.QemuIO(ctx, target, command)
		if err != nil {
			return err
		}
		if want := fmt.Sprintf("%d/%d bytes at offset %d", n, n, offset); !strings.Contains(out, want) {
			return fmt.Errorf("qemu-io %q on disk %s of machine %s: no %q in %q", command, target, m.name, want, out)
		}
		offset, length = offset+n, length-n
	}
	_, err := m.QemuIO(ctx, target, "flush")
	return err
}
