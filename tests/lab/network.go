package lab

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
)

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

// inNSAll runs commands without spaces in their arguments one after another.
func inNSAll(ctx context.Context, ns string, commands ...string) error {
	for _, c := range commands {
		if err := inNS(ctx, ns, strings.Fields(c)...); err != nil {
			return err
		}
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
	return inNSAll(ctx, ns,
		"ip link set lo up",
		"ip link add br0 type bridge forward_delay 0 stp_state 0 mcast_snooping 0",
		"ip link set br0 up",
	)
}

// connectHost makes a host's network namespace and its cable to the bridge:
// eth0 in the host, an interface with the host's name on the bridge.
func connectHost(ctx context.Context, lab, host, addr string) error {
	ns := hostFile(lab, host, "net")
	if err := makeNetNS(ns); err != nil {
		return err
	}
	err := inNSAll(ctx, ns,
		"ip link set lo up",
		"ip link add eth0 type veth peer name "+host+" netns "+bridgeNS(lab),
		"ip addr add "+addr+"/24 dev eth0",
		"ip link set eth0 up",
	)
	if err != nil {
		return err
	}
	return inNS(ctx, bridgeNS(lab), "ip", "link", "set", host, "master", "br0", "up")
}
