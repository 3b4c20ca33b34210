package wire

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// vnetHeader is the length of struct virtio_net_hdr, which precedes each frame:
// it carries what offloads left undone (checksums, segmentation).
const vnetHeader = 10

// openPort opens a packet socket that sees all frames that come in at an
// interface, and none that go out.
func openPort(name string) (fd int, err error) {
	const protocol = uint16(unix.ETH_P_ALL>>8 | unix.ETH_P_ALL&0xff<<8) // in network byte order
	// Protocol 0 until it is bound: a socket sees every interface before that.
	fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("wire: packet socket: %w", err)
	}
	defer func() {
		if err != nil {
			unix.Close(fd)
			fd = -1
		}
	}()
	index, err := interfaceIndex(fd, name)
	if err != nil {
		return fd, err
	}
	for _, o := range []struct {
		level, name, value int
	}{
		{unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1},
		{unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1},
		{unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64 << 20},
		{unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 64 << 20},
	} {
		if err = unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			return fd, fmt.Errorf("wire: socket option %d: %w", o.name, err)
		}
	}
	// Reads return now and then, so that a wire can end.
	if err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 200000}); err != nil {
		return fd, fmt.Errorf("wire: receive timeout: %w", err)
	}
	mreq := &unix.PacketMreq{Ifindex: int32(index), Type: unix.PACKET_MR_PROMISC}
	if err = unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, mreq); err != nil {
		return fd, fmt.Errorf("wire: promiscuous mode on %s: %w", name, err)
	}
	if err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: protocol, Ifindex: index}); err != nil {
		return fd, fmt.Errorf("wire: bind to %s: %w", name, err)
	}
	return fd, nil
}

func interfaceIndex(fd int, name string) (int, error) {
	req, err := unix.NewIfreq(name)
	if err == nil {
		err = unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, req)
	}
	if err != nil {
		return 0, fmt.Errorf("wire: interface %s: %w", name, err)
	}
	return int(req.Uint32()), nil
}
