package lab

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Control runs a line of shell in the guest by a way of its own, which works
// without an agent, with a hanging one and in a frozen guest, and returns what
// it printed. A line that ends badly is a *[GuestError]. It waits, at most two
// minutes, for a guest that is still booting. One Control at a time.
func (m *Machine) Control(ctx context.Context, line string) (string, error) {
	if strings.ContainsRune(line, '\n') {
		return "", errors.New("control: one line only")
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	conn, err := m.dialControl(ctx)
	if err != nil {
		return "", fmt.Errorf("control of machine %s: %w", m.name, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := fmt.Fprintln(conn, line); err != nil {
		return "", fmt.Errorf("control of machine %s: %w", m.name, err)
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("control of machine %s: %w", m.name, errors.Join(ctx.Err(), err))
	}
	status, data, _ := strings.Cut(strings.TrimSpace(answer), " ")
	code, err := strconv.Atoi(status)
	if err != nil {
		return "", fmt.Errorf("control of machine %s: strange answer %q", m.name, answer)
	}
	out, err := base64.StdEncoding.DecodeString(data)
	if err != nil {
		return "", fmt.Errorf("control of machine %s: strange answer %q", m.name, answer)
	}
	if code != 0 {
		return string(out), &GuestError{Machine: m.name, Argv: []string{line}, ExitCode: code, Stderr: string(out)}
	}
	return string(out), nil
}

// dialControl connects to the socket that qemu offers for the control channel.
func (m *Machine) dialControl(ctx context.Context) (net.Conn, error) {
	d, err := m.live(ctx)
	if err != nil {
		return nil, err
	}
	for _, c := range d.Channels {
		if c.Target.Name != "lab.control.0" || c.Source.Path == "" {
			continue
		}
		// The path is longer than a socket address may be; a descriptor's is not.
		fd, err := unix.Open(m.host.Path(c.Source.Path), unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, fmt.Errorf("open %s: %w", c.Source.Path, err)
		}
		defer unix.Close(fd)
		var dialer net.Dialer
		return dialer.DialContext(ctx, "unix", fmt.Sprintf("/proc/self/fd/%d", fd))
	}
	return nil, errors.New("no control channel: not a running guest of the lab's")
}
