package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"vmsync/tests/lab/wire"
)

// Link is the quality of a host's cable. The zero value is a cable without
// limits: the bridge itself, at the speed of the machine.
type Link struct {
	Rate int64         // bits per second in each direction; 0 is no limit
	RTT  time.Duration // added to a round trip, half in each direction
	Loss float64       // probability, 0 to 1, of losing a packet, in each direction
}

func (l Link) quality() wire.Quality {
	return wire.Quality{Rate: l.Rate, Delay: l.RTT / 2, Loss: l.Loss}
}

// Link cuts or mends the host's cable, somewhere behind its own switch: the
// host keeps its carrier, its packets just vanish. A crashed host's cable is
// cut until it boots.
func (h *Host) Link(ctx context.Context, up bool) error {
	h.link.Lock()
	defer h.link.Unlock()
	mark := hostFile(h.lab.name, h.name, "link-down")
	var err error
	if up {
		if err = os.Remove(mark); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	} else {
		err = os.WriteFile(mark, nil, 0o600)
	}
	if err != nil {
		return err
	}
	return h.applyLink(ctx)
}

// applyLink makes the bridge's port what the last [Host.Link] asked for.
func (h *Host) applyLink(ctx context.Context) error {
	state := "3" // forwarding
	if _, err := os.Stat(hostFile(h.lab.name, h.name, "link-down")); err == nil {
		state = "0" // disabled
	}
	port := h.name
	if h.hasWire() {
		port = h.name + "-b"
	}
	if err := inNS(ctx, bridgeNS(h.lab.name), "bridge", "link", "set", "dev", port, "state", state); err != nil {
		return fmt.Errorf("set the link of host %s: %w", h.name, err)
	}
	return nil
}

// hasWire says whether a wire stands between the host and the bridge.
func (h *Host) hasWire() bool {
	_, err := os.Stat(h.wireSocket())
	return err == nil
}

func (h *Host) wireSocket() string { return hostFile(h.lab.name, h.name, "wire.sock") }

func (h *Host) wireGroup() string {
	return filepath.Join(labCgroup(h.lab.name), "wire-"+h.name)
}

// SetLink changes the quality of the host's cable, also while data flows. A round trip
// or a loss puts a process between host and bridge, and a Link without takes it
// away: packets on their way at those moments are lost.
func (h *Host) SetLink(ctx context.Context, l Link) error {
	h.link.Lock()
	defer h.link.Unlock()
	if err := l.quality().Check(); err != nil {
		return err
	}
	err := h.unshape(ctx)
	switch {
	case err != nil:
	case l.RTT == 0 && l.Loss == 0:
		if err = h.removeWire(ctx); err == nil && l.Rate > 0 {
			err = h.shape(ctx, l.Rate)
		}
	case h.hasWire():
		err = wire.Configure(ctx, h.wireSocket(), l.quality())
	default:
		err = h.insertWire(ctx, l)
	}
	if err == nil {
		// With offloads a lost frame would be forty packets; a real cable loses one.
		err = h.setOffloads(l.Loss == 0)
	}
	if err == nil {
		err = h.applyLink(ctx)
	}
	if err != nil {
		return fmt.Errorf("set the link of host %s: %w", h.name, err)
	}
	return nil
}

// insertWire replaces "host - bridge" by "host - wire - host-w = host-b - bridge".
// When it fails the host is on the bridge again.
func (h *Host) insertWire(ctx context.Context, l Link) error {
	ns := bridgeNS(h.lab.name)
	w, b := h.name+"-w", h.name+"-b"
	err := inNSAll(ctx, ns,
		"ip link set "+h.name+" nomaster",
		"ip link add "+w+" type veth peer name "+b,
		"ip link set "+w+" up",
		"ip link set "+b+" master br0 up",
	)
	if err == nil {
		err = h.startWire(ctx, w, l.quality())
	}
	if err != nil {
		// The caller's context may be the reason.
		return errors.Join(err, h.removeWire(context.WithoutCancel(ctx)))
	}
	return nil
}

func (h *Host) startWire(ctx context.Context, to string, q wire.Quality) error {
	log := hostFile(h.lab.name, h.name, "wire.log")
	p, err := h.lab.spawn(h.wireGroup(), log, nil,
		"nsenter", "--net="+bridgeNS(h.lab.name), "--", h.lab.tool, "wire", h.wireSocket(), h.name, to,
		fmt.Sprint(q.Rate), q.Delay.String(), fmt.Sprint(q.Loss))
	if err != nil {
		return err
	}
	for !h.hasWire() {
		if p.ended() {
			return fmt.Errorf("the wire ended: %s", tail(log))
		}
		if err := sleep(ctx, 5*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// removeWire puts the host back on the bridge, from wherever insertWire got to.
func (h *Host) removeWire(ctx context.Context) error {
	if err := removeCgroup(h.wireGroup()); err != nil {
		return err
	}
	if err := os.Remove(h.wireSocket()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	ns := bridgeNS(h.lab.name)
	if inNS(ctx, ns, "ip", "link", "show", h.name+"-w") == nil {
		if err := inNS(ctx, ns, "ip", "link", "del", h.name+"-w"); err != nil {
			return err
		}
	}
	return inNS(ctx, ns, "ip", "link", "set", h.name, "master", "br0")
}

// setOffloads lets, or does not let, the interfaces that feed the wire send
// frames longer than a packet.
func (h *Host) setOffloads(on bool) error {
	if err := withNetNS(hostFile(h.lab.name, h.name, "net"), func() error {
		return setSegmentation("eth0", on)
	}); err != nil {
		return err
	}
	if !h.hasWire() {
		return nil
	}
	return withNetNS(bridgeNS(h.lab.name), func() error { return setSegmentation(h.name+"-b", on) })
}

// Wire is the process between a host and the bridge. It is what the lab's own
// helper command runs, and ends with ctx.
func Wire(ctx context.Context, socket, a, b string, q wire.Quality) error {
	w, err := wire.New(a, b, q, slog.Default())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	served := make(chan error, 1)
	go func() { defer cancel(); served <- w.Serve(ctx, socket) }()
	err = w.Run(ctx)
	cancel()
	return errors.Join(err, <-served)
}
