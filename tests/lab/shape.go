package lab

import (
	"context"
	"fmt"
	"os/exec"
	"strings"

	"vmsync/tests/lab/wire"
)

// shapeBurst is how long, in seconds, a shaped port may send as fast as it can after it was
// idle: the kernel's timers are no finer than that when the machine is busy.
const shapeBurst = 0.004

// shape limits the rate of the host's cable in both directions, in bits per second, with
// the kernel's own token bucket: a wire would take processor time from what is measured over it.
func (h *Host) shape(ctx context.Context, rate int64) error {
	burst := max(int64(float64(rate)/8*shapeBurst), 128<<10)
	// As much waits as a wire would hold.
	limit := max(int64(float64(rate)/8*wire.QueueTime.Seconds()), wire.QueueMin) + burst
	for _, p := range h.ports() {
		err := inNSAll(ctx, p.ns, fmt.Sprintf("tc qdisc replace dev %s root tbf rate %dbit burst %d limit %d", p.dev, rate, burst, limit))
		if err != nil {
			return err
		}
	}
	return nil
}

// unshape takes the limit away, if there is one.
func (h *Host) unshape(ctx context.Context) error {
	for _, p := range h.ports() {
		out, err := exec.CommandContext(ctx, "nsenter", "--net="+p.ns, "--", "tc", "qdisc", "show", "dev", p.dev).Output()
		if err != nil {
			return fmt.Errorf("tc qdisc show dev %s: %w", p.dev, err)
		}
		if !strings.Contains(string(out), "qdisc tbf") {
			continue
		}
		if err := inNS(ctx, p.ns, "tc", "qdisc", "del", "dev", p.dev, "root"); err != nil {
			return err
		}
	}
	return nil
}

// port is where frames leave for one end of the host's cable.
type port struct{ ns, dev string }

func (h *Host) ports() []port {
	return []port{
		{hostFile(h.lab.name, h.name, "net"), "eth0"},
		{bridgeNS(h.lab.name), h.name},
	}
}
