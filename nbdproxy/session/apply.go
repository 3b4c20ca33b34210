package session

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"vmsync/internal/blockindex"
	"vmsync/nbdproxy/apply"
	"vmsync/nbdproxy/link"
	"vmsync/nbdproxy/spec"
	"vmsync/nbdproxy/stream"
)

// applyStream is the body of [Apply].
func applyStream(ctx context.Context, doc []byte, ev *emitter, log *slog.Logger) (*result, error) {
	var a spec.Apply
	if err := parse(doc, &a); err != nil {
		return nil, err
	}
	if _, err := applyHeader(&a); err != nil {
		return nil, err
	}
	disks := make([]apply.Disk, len(a.Disks))
	for i, d := range a.Disks {
		disks[i] = apply.Disk{Name: d.Name, Socket: d.Socket, Export: d.Export, Incremental: d.Incremental, Size: d.Size}
		var err error
		if disks[i].Index, err = applyIndex(&d); err != nil {
			return nil, err
		}
	}
	if err := apply.Check(ctx, disks); err != nil {
		return nil, err
	}
	conns, err := receivingEnds(ctx, &a, ev, log)
	if err != nil {
		return nil, err
	}
	defer link.CloseAll(conns)
	stop := context.AfterFunc(ctx, interrupter(conns))
	defer stop()

	lanes := make([]io.Reader, len(conns))
	for i, c := range conns {
		lanes[i] = c
	}
	dec, err := stream.NewDecoder(lanes...)
	if err != nil {
		return nil, err
	}
	defer dec.Close()
	header := dec.Header()
	index, err := apply.Match(header, a.Domain, a.Checkpoint, a.Parent, disks)
	if err != nil {
		return nil, err
	}
	ordered := make([]apply.Disk, len(disks))
	for i, k := range index {
		ordered[i] = disks[k]
	}
	names, meters := newMeters(header.Disks)
	stopProgress := ev.progress(names, meters, dec.Traffic)
	defer stopProgress()
	// Closing tells the sender that everything arrived; it need not wait for disks.
	received := func() { link.CloseAll(conns) }
	got, err := apply.Receive(ctx, dec, ordered, meters, received, interrupter(conns))
	if err != nil {
		return nil, err
	}
	sums := make([]stream.DiskSum, len(got))
	for i := range got {
		sums[i] = got[i].Sum
	}
	res := &result{results(header.Disks, sums), dec.Traffic()}
	for i := range got {
		if ordered[i].Index != nil {
			res.disks[i].Content = got[i].Content.String()
		}
	}
	return res, nil
}

// applyIndex is the index that a document asks for; nil for none.
func applyIndex(d *spec.ApplyDisk) (*apply.Index, error) {
	if d.Index == "" {
		if len(d.Parents) > 0 || d.ParentContent != "" || d.Resume {
			return nil, specError(fmt.Errorf("disk %q: it has no index, but what belongs to one", d.Name))
		}
		return nil, nil
	}
	x := &apply.Index{Path: d.Index, Parents: d.Parents, Resume: d.Resume}
	if err := checkPaths(append([]string{d.Index}, d.Parents...)...); err != nil {
		return nil, err
	}
	switch {
	// What such a disk's image shows besides the stream is zeros.
	case !d.Incremental && (d.Resume || len(d.Parents) > 0):
		return nil, specError(fmt.Errorf("disk %q: it is not incremental, but its index builds on something", d.Name))
	case d.ParentContent != "" && len(d.Parents) == 0:
		return nil, specError(fmt.Errorf("disk %q: content of parents that it does not have", d.Name))
	case d.ParentContent != "":
		c, err := blockindex.ParseDigest(d.ParentContent)
		if err != nil {
			return nil, specError(fmt.Errorf("disk %q: %w", d.Name, err))
		}
		x.ParentContent = &c
	}
	return x, nil
}
