package offer

import "net"

// sendBuffer is what a unix socket may hold of replies, in bytes. With the kernel's
// default a reply of the usual 256 KiB does not fit, and server and client wake each
// other several times for each. The kernel may grant less.
const sendBuffer = 2 << 20

// roomy gives the connections that it accepts room for replies.
type roomy struct{ net.Listener }

func (l roomy) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if u, ok := c.(*net.UnixConn); ok {
		_ = u.SetWriteBuffer(sendBuffer) // a hint
	}
	return c, err
}
