package source

import (
	"context"
	"errors"
	"path"
	"slices"

	"vmsync/internal/libvirt"
	"vmsync/replicator"
)

// mayHave tells whether the controller may have a domain of that name, or know of it.
func (e *End) mayHave(name string) bool {
	return len(e.opts.Machines) == 0 || slices.ContainsFunc(e.opts.Machines, func(pattern string) bool {
		ok, err := path.Match(pattern, name)
		return err == nil && ok
	})
}

// lookup finds a domain by name or UUID. Whether there is one that the controller may not
// have, it is not told.
func (e *End) lookup(ctx context.Context, op, domain string) (*libvirt.Domain, error) {
	dom, err := e.conn.Lookup(ctx, domain)
	switch {
	case err == nil && !e.mayHave(dom.Name), errors.Is(err, libvirt.ErrNoDomain) && !e.mayHave(domain):
		return nil, &replicator.Error{Kind: replicator.KindDenied, Domain: domain, Op: op,
			Hint: "on the source, add it to this client's line in the list of clients (docs/TLS.md)",
			Err:  errors.New("the source does not let this client have it")}
	case err != nil:
		return nil, &replicator.Error{Kind: kindOf(err), Domain: domain, Op: op,
			Hint: "`virsh list --all` shows the domains of this host", Err: withoutDomain(op, err)}
	}
	return dom, nil
}

// peekable names the domain that a mark is of, if the controller may know of it.
func (e *End) peekable(ctx context.Context, m *replicator.Mark) (*libvirt.Domain, error) {
	if len(e.opts.Machines) == 0 {
		return e.conn.Known(m.Domain, m.UUID), nil
	}
	// What the mark calls it is for people: it may be another's name.
	return e.lookup(ctx, "look for changes", m.UUID)
}
