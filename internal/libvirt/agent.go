package libvirt

import (
	"context"
	"time"

	lv "libvirt.org/go/libvirt"
)

// SetAgentTimeout bounds how long libvirt waits for the guest agent's answer to
// later commands, in whole seconds; the handshake before each is bounded by the same
// and by 5 s. Zero restores libvirt's own rule, which waits for ever. The setting
// belongs to the running domain, not to the connection.
func (d *Domain) SetAgentTimeout(ctx context.Context, timeout time.Duration) error {
	seconds := int(timeout / time.Second)
	if timeout == 0 {
		seconds = int(lv.DOMAIN_AGENT_RESPONSE_TIMEOUT_BLOCK)
	}
	return do(ctx, d, "set the guest agent's timeout", again, func(dom *lv.Domain) error {
		return dom.AgentSetResponseTimeout(seconds, 0)
	})
}

// AgentReady asks the guest agent for the time. An agent refuses that while its
// guest is frozen, so nil means: there is an agent, it answers, and the guest is not
// frozen.
func (d *Domain) AgentReady(ctx context.Context) error {
	return do(ctx, d, "ask the guest agent", again, func(dom *lv.Domain) error {
		_, _, err := dom.GetTime(0)
		return err
	})
}

// Freeze makes the guest write out and stop its file systems: those at the mount points,
// all if there are none. Of mount points that the guest does not have nothing is said.
func (d *Domain) Freeze(ctx context.Context, mountpoints []string) error {
	return do(ctx, d, "freeze the guest", once, func(dom *lv.Domain) error { return dom.FSFreeze(mountpoints, 0) })
}

// Mountpoints lists where the guest has file systems, as its agent tells.
func (d *Domain) Mountpoints(ctx context.Context) ([]string, error) {
	return on(ctx, d, "list the guest's file systems", again, func(dom *lv.Domain) ([]string, error) {
		all, err := dom.GetFSInfo(0)
		if err != nil {
			return nil, err
		}
		var at []string
		for _, fs := range all {
			at = append(at, fs.MountPoint)
		}
		return at, nil
	})
}

// Thaw lets the guest's file systems go on. It succeeds when they are not frozen.
func (d *Domain) Thaw(ctx context.Context) error {
	return do(ctx, d, "thaw the guest", again, func(dom *lv.Domain) error { return dom.FSThaw(nil, 0) })
}
