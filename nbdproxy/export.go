package nbdproxy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// export is an Export that was checked, with what its backend can do looked up.
type export struct {
	Export
	size     uint64
	flags    uint16 // transmission flags, but for what depends on the connection
	contexts []string
	status   StatusReporter // nil if it has none; so are the next three
	zeroer   Zeroer
	trimmer  Trimmer
	cacher   Cacher
	fastZero bool
	flush    bool
}

func newExport(e Export) (*export, error) {
	if err := checkString("name", e.Name); err != nil {
		return nil, err
	}
	if err := checkString("description", e.Description); err != nil {
		return nil, err
	}
	if e.Backend == nil {
		return nil, errors.New("it has no backend")
	}
	size, err := e.Backend.Size()
	if err != nil {
		return nil, fmt.Errorf("its size: %w", err)
	}
	if e.BlockSizes == (BlockSizes{}) {
		e.BlockSizes = BlockSizes{Minimum: 1, Preferred: 4096, Maximum: maxPayload}
	}
	if err := e.BlockSizes.check(size); err != nil {
		return nil, err
	}
	x := &export{Export: e, size: uint64(size)}
	x.lookUpAbilities()
	if x.status, _ = e.Backend.(StatusReporter); x.status != nil {
		x.contexts = slices.Clone(x.status.Contexts())
		if err := checkContexts(x.contexts); err != nil {
			return nil, err
		}
	}
	x.flags = x.transmissionFlags()
	return x, nil
}

// lookUpAbilities finds out what the backend can do.
func (x *export) lookUpAbilities() {
	can := Features{Zero: true, FastZero: true, Trim: true, Cache: true, Flush: true}
	if f, ok := x.Backend.(Featured); ok {
		can = f.Features()
	}
	if can.Cache {
		x.cacher, _ = x.Backend.(Cacher)
	}
	if x.ReadOnly {
		x.flush = true // there is nothing to do
		return
	}
	x.flush = can.Flush
	if can.Zero {
		x.zeroer, _ = x.Backend.(Zeroer)
		x.fastZero = x.zeroer != nil && can.FastZero
	}
	if can.Trim {
		x.trimmer, _ = x.Backend.(Trimmer)
	}
}

// transmissionFlags says what the export can do.
func (x *export) transmissionFlags() uint16 {
	flags := flagHasFlags
	set := func(ok bool, f uint16) {
		if ok {
			flags |= f
		}
	}
	set(x.ReadOnly, flagReadOnly)
	set(x.flush, flagSendFlush)
	set(x.flush && !x.ReadOnly, flagSendFUA)
	set(x.MultiConn, flagCanMultiConn)
	set(x.trimmer != nil, flagSendTrim)
	set(x.zeroer != nil, flagSendWriteZeroes)
	set(x.fastZero, flagSendFastZero)
	set(x.cacher != nil, flagSendCache)
	return flags
}

// check tells what is wrong with the block sizes of an export of size bytes.
func (b BlockSizes) check(size int64) error {
	power := func(v uint32) bool { return v != 0 && v&(v-1) == 0 }
	switch {
	case size < 0:
		return fmt.Errorf("its size is %d", size)
	case !power(b.Minimum) || b.Minimum > 64<<10:
		return fmt.Errorf("its minimum block size of %d bytes is not a power of two up to 64 KiB", b.Minimum)
	case !power(b.Preferred) || b.Preferred < max(512, b.Minimum):
		return fmt.Errorf("its preferred block size of %d bytes is not a power of two from 512 and the minimum up", b.Preferred)
	case b.Maximum%b.Minimum != 0 || b.Maximum > maxPayload || int64(b.Maximum) < min(int64(b.Preferred), size):
		return fmt.Errorf("its maximum block size of %d bytes is not a multiple of the minimum, from the preferred one up to %d", b.Maximum, maxPayload)
	case b.Maximum == 0:
		return errors.New("its maximum block size is 0")
	case size%int64(b.Minimum) != 0:
		return fmt.Errorf("its size of %d bytes is not a multiple of its minimum block size of %d", size, b.Minimum)
	}
	return nil
}

// checkString holds names and descriptions to the protocol's rules for strings.
func checkString(what, s string) error {
	if len(s) > maxString || !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
		return fmt.Errorf("its %s is not UTF-8 text of at most %d bytes without NUL", what, maxString)
	}
	return nil
}

func checkContexts(names []string) error {
	for i, name := range names {
		if err := checkString("metadata context", name); err != nil {
			return err
		}
		if space, leaf, ok := strings.Cut(name, ":"); !ok || space == "" || leaf == "" {
			return fmt.Errorf("its metadata context %q is not of the form NAMESPACE:NAME", name)
		}
		if slices.Contains(names[:i], name) {
			return fmt.Errorf("its metadata context %q is there twice", name)
		}
	}
	return nil
}

// newExports checks a server's exports.
func newExports(list []Export) ([]*export, error) {
	if len(list) == 0 {
		return nil, errors.New("there are no exports")
	}
	var exports []*export
	for i, e := range list {
		x, err := newExport(e)
		if err != nil {
			return nil, fmt.Errorf("export %q: %w", e.Name, err)
		}
		if e.Name == "" && i > 0 {
			return nil, errors.New(`export "": the empty name stands for the first export`)
		}
		if slices.ContainsFunc(exports, func(o *export) bool { return o.Name == e.Name }) {
			return nil, fmt.Errorf("export %q: the name is taken", e.Name)
		}
		exports = append(exports, x)
	}
	return exports, nil
}

// find returns the export of that name, the first for the empty one, or nil.
func findExport(exports []*export, name string) *export {
	if name == "" {
		return exports[0]
	}
	for _, x := range exports {
		if x.Name == name {
			return x
		}
	}
	return nil
}
