package lab

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// makeNetNS makes a network namespace that lives as long as its bind mount at path.
func makeNetNS(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o600)
	if err != nil {
		return err
	}
	f.Close()
	done := make(chan error, 1)
	go func() {
		// The thread is in the new namespace from here on. Left locked, it ends with
		// this goroutine and is never used for anything else.
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("make a network namespace: %w", err)
			return
		}
		src := fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid())
		if err := unix.Mount(src, path, "", unix.MS_BIND, ""); err != nil {
			done <- fmt.Errorf("keep a network namespace at %s: %w", path, err)
			return
		}
		done <- nil
	}()
	return <-done
}

// inNS runs a program of the machine in a network namespace.
func inNS(ctx context.Context, ns string, argv ...string) error {
	args := append([]string{"--net=" + ns, "--"}, argv...)
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "nsenter", args...)
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, strings.TrimSpace(stderr.String()))
	}
	return nil
}

// makeBridge makes the lab's own network: one bridge, in a namespace where
// nothing else is.
func makeBridge(ctx context.Context, lab string) error {
	ns := bridgeNS(lab)
	if err := makeNetNS(ns); err != nil {
		return err
	}
	for _, c := range []string{
		"ip link set lo up",
		"ip link add br0 type bridge forward_delay 0 stp_state 0 mcast_snooping 0",
		"ip link set br0 up",
	} {
		if err := inNS(ctx, ns, strings.Fields(c)...); err != nil {
			return err
		}
	}
	return nil
}

// connectHost makes a host's network namespace and its cable to the bridge:
// eth0 in the host, an interface with the host's name on the bridge.
func connectHost(ctx context.Context, lab, host, addr string) error {
	ns := hostFile(lab, host, "net")
	if err := makeNetNS(ns); err != nil {
		return err
	}
	type step struct{ ns, cmd string }
	for _, s := range []step{
		{ns, "ip link set lo up"},
		{ns, "ip link add eth0 type veth peer name " + host + " netns " + bridgeNS(lab)},
		{ns, "ip addr add " + addr + "/24 dev eth0"},
		{ns, "ip link set eth0 up"},
		{bridgeNS(lab), "ip link set " + host + " master br0 up"},
	} {
		if err := inNS(ctx, s.ns, strings.Fields(s.cmd)...); err != nil {
			return err
		}
	}
	return nil
}
