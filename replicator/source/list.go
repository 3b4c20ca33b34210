package source

import (
	"context"
	"slices"
	"strings"

	"vmsync/internal/domainxml"
	"vmsync/internal/libvirt"
	"vmsync/replicator"
)

// List implements replicator.SourceEnd.
func (e *End) List(ctx context.Context) ([]replicator.SourceDomain, error) {
	const op = "list the domains"
	if e.closed || e.dom != nil {
		return nil, e.sequence(op)
	}
	if err := e.connect(ctx, op); err != nil {
		return nil, err
	}
	found, err := e.conn.Domains(ctx, domainxml.MarkNamespace)
	if err != nil {
		return nil, e.fail("", op, "", err)
	}
	all := make([]replicator.SourceDomain, 0, len(found))
	for _, d := range found {
		if !e.mayHave(d.Name) {
			continue
		}
		all = append(all, replicator.SourceDomain{Name: d.Name, UUID: d.UUID, Running: d.Active,
			Replica: domainxml.IsReplica(d.Metadata)})
	}
	slices.SortFunc(all, func(a, b replicator.SourceDomain) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// connect connects to this host's libvirt, once.
func (e *End) connect(ctx context.Context, op string) (err error) {
	if e.conn != nil {
		return nil
	}
	if e.conn, err = libvirt.Open(ctx); err != nil {
		return e.fail("", op, "is libvirtd running, and may this user manage it?", err)
	}
	return nil
}
