package nbdconn

import "libguestfs.org/libnbd"

// Features are what the server says about the export.
type Features struct {
	MultiConn bool // several connections see each other's writes; one flush covers all
	ReadOnly  bool
	Zero      bool // the server takes write-zeroes requests,
	FastZero  bool // and can refuse those that would be slow
	Trim      bool
	Cache     bool
	Flush     bool
}

// Features asks the handle; the answers came with the handshake.
func (c *Conn) Features() (Features, error) {
	var f Features
	if c.h == nil {
		return f, errClosed
	}
	for _, q := range []struct {
		into *bool
		ask  func() (bool, error)
	}{
		{&f.MultiConn, c.h.CanMultiConn}, {&f.ReadOnly, c.h.IsReadOnly},
		{&f.Zero, c.h.CanZero}, {&f.FastZero, c.h.CanFastZero}, {&f.Trim, c.h.CanTrim},
		{&f.Cache, c.h.CanCache}, {&f.Flush, c.h.CanFlush},
	} {
		v, err := q.ask()
		if err != nil {
			return f, err
		}
		*q.into = v
	}
	return f, nil
}

// Has tells whether the server has a metadata context that the connection was
// made with.
func (c *Conn) Has(metaContext string) (bool, error) {
	if c.h == nil {
		return false, errClosed
	}
	return c.h.CanMetaContext(metaContext)
}

// Sizes are a server's constraints on requests, in bytes; 0 where it names none.
type Sizes struct{ Minimum, Preferred, Maximum int64 }

// Sizes asks the handle; the answers came with the handshake.
func (c *Conn) Sizes() (Sizes, error) {
	var s Sizes
	if c.h == nil {
		return s, errClosed
	}
	for _, q := range []struct {
		into *int64
		kind libnbd.Size
	}{
		{&s.Minimum, libnbd.SIZE_MINIMUM}, {&s.Preferred, libnbd.SIZE_PREFERRED}, {&s.Maximum, libnbd.SIZE_MAXIMUM},
	} {
		v, err := c.h.GetBlockSize(q.kind)
		if err != nil {
			return s, err
		}
		*q.into = int64(v) // 32 bits in the protocol
	}
	return s, nil
}
