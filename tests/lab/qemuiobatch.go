package lab

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

// DiskCommand is one qemu-io command for one disk of a machine.
type DiskCommand struct {
	Target  string // "vda"
	Command string // "write -P 0xab 1M 192k"
}

// QemuIOBatch runs many qemu-io commands, in their order, as [Machine.QemuIO] runs
// one, in a fraction of the time. It returns what each printed, in their order. A
// failure of any, which does not keep those after it from being run, is an error. Use
// a machine from one goroutine at a time.
func (m *Machine) QemuIOBatch(ctx context.Context, commands []DiskCommand) ([]string, error) {
	devices, err := m.qdevs(ctx)
	if err != nil {
		return nil, err
	}
	logPath := m.host.Path("/var/log/libvirt/qemu/" + m.name + ".log")
	st, err := os.Stat(logPath)
	if err != nil {
		return nil, err
	}
	// The complaint about a command that does not exist marks the end of each.
	mark := "lab-mark-" + rand.Text()[:10]
	name := strings.ReplaceAll(m.name, "'", `'\''`) // as virsh reads its commands
	var script bytes.Buffer
	for _, c := range commands {
		dev := devices[c.Target]
		if dev == "" {
			return nil, fmt.Errorf("machine %s has no running disk %s", m.name, c.Target)
		}
		if strings.ContainsAny(c.Command, "\"'\\\n") {
			return nil, fmt.Errorf("qemu-io command %q: quotes and newlines cannot be passed on", c.Command)
		}
		for _, say := range []string{c.Command, mark} {
			fmt.Fprintf(&script, "qemu-monitor-command --domain '%s' --hmp 'qemu-io -d %s \"%s\"'\n", name, dev, say)
		}
	}
	// What the last mark says comes when all is done.
	end := "lab-end-" + rand.Text()[:10]
	fmt.Fprintf(&script, "qemu-monitor-command --domain '%s' --hmp 'qemu-io -d %s \"%s\"'\n", name, devices[commands[0].Target], end)
	cmd := m.host.Command(ctx, "virsh", "-c", "qemu:///system", "-q")
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stderr = &script, &stderr
	if err := cmd.Run(); err != nil || stderr.Len() > 0 {
		return nil, fmt.Errorf("qemu-io of machine %s: %v: %s", m.name, err, strings.TrimSpace(stderr.String()))
	}
	out, err := waitLog(ctx, logPath, st.Size(), fmt.Sprintf("command %q not found", end))
	if err != nil {
		return nil, fmt.Errorf("qemu-io of machine %s: %w", m.name, err)
	}
	said := strings.Split(out, fmt.Sprintf("command %q not found", mark))
	for i, c := range commands {
		said[i] = strings.TrimSpace(said[i])
		if err := complaint(said[i]); err != nil {
			return said[:len(commands)], fmt.Errorf("qemu-io %q on disk %s of machine %s: %w", c.Command, c.Target, m.name, err)
		}
	}
	return said[:len(commands)], nil
}

// qdevs gives for each disk the path in qemu's object tree of the device behind it.
func (m *Machine) qdevs(ctx context.Context) (map[string]string, error) {
	disks, err := m.disks(ctx)
	if err != nil {
		return nil, err
	}
	out, err := m.host.virsh(ctx, "qemu-monitor-command", "--domain", m.name, `{"execute":"query-block"}`)
	if err != nil {
		return nil, err
	}
	var reply struct {
		Return []struct{ Qdev string }
	}
	if err := json.Unmarshal([]byte(out), &reply); err != nil {
		return nil, fmt.Errorf("query-block of machine %s: %w", m.name, err)
	}
	devices := make(map[string]string)
	for _, d := range disks {
		for _, b := range reply.Return {
			for part := range strings.SplitSeq(b.Qdev, "/") {
				if part == d.Alias.Name {
					devices[d.Target.Dev] = b.Qdev
				}
			}
		}
	}
	return devices, nil
}
