package session

import (
	"context"
	"fmt"
	"log/slog"

	"vmsync/nbdproxy/export"
	"vmsync/nbdproxy/spec"
	"vmsync/nbdproxy/stream"
)

// hashDisks is the body of [Hash].
func hashDisks(ctx context.Context, doc []byte, ev *emitter, _ *slog.Logger) (res *result, err error) {
	var h spec.Hash
	if err := parse(doc, &h); err != nil {
		return nil, err
	}
	if err := checkHash(&h); err != nil {
		return nil, err
	}
	disks := make([]export.HashDisk, len(h.Disks))
	named := make([]stream.Disk, len(h.Disks))
	for i, d := range h.Disks {
		disks[i] = export.HashDisk{Top: d.Top, Below: d.Below, Disk: export.Disk{
			Name: d.Name, Socket: d.Socket, Export: d.Export, Bitmap: d.Bitmap, Size: d.Size,
		}}
		named[i] = stream.Disk{Name: d.Name, Size: d.Size}
	}
	if err := export.CheckHash(ctx, disks); err != nil {
		return nil, err
	}
	var files indexes
	defer func() {
		if err != nil {
			files.drop()
		}
	}()
	for i, d := range h.Disks {
		if disks[i].Index, err = files.create(d.Name, d.Out, d.Size); err != nil {
			return nil, err
		}
	}
	names, meters := newMeters(named)
	stopProgress := ev.progress(names, meters, func() spec.Traffic { return spec.Traffic{} })
	defer stopProgress()
	sums, err := export.Hash(ctx, disks, meters)
	if err != nil {
		return nil, err
	}
	if err := files.finish(); err != nil {
		return nil, err
	}
	return &result{disks: hashResults(disks, sums)}, nil
}

// checkHash holds a document to the same rules as one with a stream.
func checkHash(h *spec.Hash) error {
	header := stream.Header{Domain: "none", Checkpoint: "none"}
	var paths []string
	for _, d := range h.Disks {
		if d.Below < 0 || d.Below > 0 && !d.Top {
			return specError(fmt.Errorf("disk %q: %d bytes below it", d.Name, d.Below))
		}
		header.Disks = append(header.Disks, stream.Disk{Name: d.Name, Size: d.Size})
		paths = append(paths, d.Socket, d.Out)
	}
	return check(header, paths)
}

// hashResults names only contents that are those of whole disks.
func hashResults(disks []export.HashDisk, sums []export.Hashed) []spec.DiskResult {
	r := make([]spec.DiskResult, len(disks))
	for i, s := range sums {
		r[i] = spec.DiskResult{Name: disks[i].Name, DataBytes: s.DataBytes}
		if d := disks[i]; !d.Top && d.Bitmap == "" {
			r[i].Content = s.Content.String()
		}
	}
	return r
}
