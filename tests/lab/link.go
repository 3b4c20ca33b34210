package lab

import (
	"context"
	"fmt"
)

// setLinkState cuts or mends the cable of a host, at the bridge: the host still
// sees a carrier, its packets just vanish, as behind a failed switch.
func setLinkState(ctx context.Context, lab, host string, up bool) error {
	state := "0" // disabled
	if up {
		state = "3" // forwarding
	}
	if err := inNS(ctx, bridgeNS(lab), "bridge", "link", "set", "dev", host, "state", state); err != nil {
		return fmt.Errorf("set the link of host %s: %w", host, err)
	}
	return nil
}
