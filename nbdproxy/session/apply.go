package session

import (
	"context"

	"vmsync/nbdproxy/apply"
	"vmsync/nbdproxy/spec"
	"vmsync/nbdproxy/stream"
)

// applyStream is the body of [Apply].
func applyStream(ctx context.Context, doc []byte, ev *emitter) (*result, error) {
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
	conn, err := accept(ctx, a.Listen, ev)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, interrupter(conn))
	defer stop()

	dec, err := stream.NewDecoder(conn)
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
	received := func() { _ = conn.Close() }
	sums, err := apply.Receive(ctx, dec, ordered, meters, received, interrupter(conn))
	if err != nil {
		return nil, err
	}
	return &result{results(header.Disks, sums), dec.Traffic()}, nil
}
