package target

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/google/uuid"

	"vmsync/internal/domainxml"
	"vmsync/internal/libvirt"
	"vmsync/internal/store"
	"vmsync/replicator"
)

// chooseUUID keeps the source's UUID where it is free on the target.
func (t *Target) chooseUUID(ctx context.Context) (string, error) {
	want := t.manifest.Source.UUID
	dom, err := t.virt.Lookup(ctx, want)
	switch {
	case errors.Is(err, libvirt.ErrNoDomain):
		return want, nil
	case err != nil:
		return "", err
	case dom.Name == t.domain:
		return want, nil
	}
	return uuid.NewString(), nil
}

// define defines the replica's domain over run overlays, shut off and without
// autostart.
func (t *Target) define(ctx context.Context, state *store.State, sourceXML []byte, run []store.RunOverlay) error {
	const op = "define the replica's domain"
	xml, err := t.replicaXML(state, sourceXML, run)
	if err != nil {
		return t.fail(replicator.KindDefine, op, "", "", err)
	}
	dom, err := t.virt.Define(ctx, xml)
	if err == nil {
		// A replica that starts by itself when its host boots would run beside its source.
		err = dom.SetAutostart(ctx, false)
	}
	if err != nil {
		return t.fail(replicator.KindDefine, op, "", "the replica's data is stored; see what libvirt on the target is missing", err)
	}
	t.domainStale = false
	return nil
}

// replicaXML makes the replica's definition from the source's, changing only
// what must differ.
func (t *Target) replicaXML(state *store.State, sourceXML []byte, run []store.RunOverlay) (string, error) {
	doc, err := domainxml.Parse(string(sourceXML))
	if err != nil {
		return "", err
	}
	doc.SetName(t.domain)
	doc.SetUUID(t.manifest.TargetUUID)
	replicated := map[string]bool{}
	for _, r := range run {
		replicated[r.Disk] = true
		if err := doc.UseImage(r.Disk, t.folder.Path(r.Image)); err != nil {
			return "", err
		}
	}
	for _, d := range doc.Disks() {
		switch {
		case replicated[d.Name]:
		case d.Removable():
			if _, err := os.Stat(d.Path); err != nil && d.HasSource {
				if err := doc.Eject(d.Name); err != nil {
					return "", fmt.Errorf("drive %s: %w", d.Name, err)
				}
			}
		default:
			doc.RemoveDisk(d.Name)
		}
	}
	if t.manifest.RunNVRAM != "" {
		doc.SetNVRAM(t.folder.Path(t.manifest.RunNVRAM))
	}
	doc.SetMark(domainxml.Mark{Role: string(t.manifest.Role), Pair: t.manifest.Pair, Store: t.folder.Dir(),
		SourceHost: t.manifest.Source.Host, Checkpoint: state.Checkpoint, Time: state.Time})
	return doc.String()
}

// undefine takes the replica's domain away, if it is there.
func (t *Target) undefine(ctx context.Context) error {
	dom, err := t.virt.Lookup(ctx, t.domain)
	if errors.Is(err, libvirt.ErrNoDomain) {
		return nil
	}
	if err == nil {
		err = dom.Undefine(ctx)
	}
	if err != nil {
		return t.fail(replicator.KindUnreachable, "undefine the replica's domain", "", "", err)
	}
	return nil
}
