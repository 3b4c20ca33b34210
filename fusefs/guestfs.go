package fusefs

import (
	"sync/atomic"

	"vmsync/fusefs/filesystem"
)

// guestFS is a guest's filesystem as the kernel knows it. The node ids of its files
// stay the same as long as the state is listed, or the kernel knows one of them.
type guestFS struct {
	session *session
	name    string
	lookups atomic.Int64     // that the kernel has not forgotten, of all files
	spans   map[uint64]*span // by their high bits; the sessions' mu guards it
	latest  atomic.Pointer[span]
}

// use calls a function with the filesystem, which stays open until it returns.
func (v *guestFS) use(do func(filesystem.FS) error) error {
	o, err := v.session.hold()
	if err != nil {
		return err
	}
	defer v.session.release()
	r := o.readers[v.name]
	if r == nil {
		return filesystem.ErrNotExist
	}
	fsys, err := r.filesystem(v.session.replica.tree.opener)
	if err != nil {
		return err
	}
	return do(fsys)
}
