package session

import (
	"context"
	"io"
	"log/slog"

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
	sums, err := apply.Receive(ctx, dec, ordered, meters, received, interrupter(conns))
	if err != nil {
		return nil, err
	}
	return &result{results(header.Disks, sums), dec.Traffic()}, nil
}
