package source

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"vmsync/internal/blockindex"
	"vmsync/internal/libvirt"
	"vmsync/nbdproxy/spec"
	"vmsync/replicator"
	"vmsync/replicator/dataplane"
)

// hashFolder takes the indexes of a run that only hashes.
func (e *End) hashFolder() string { return filepath.Join(knownDir, "vmsync-hash-"+e.dom.UUID) }

// hash starts to read what the disks held when the parent's checkpoint was made. What has
// changed since is left out.
func (e *End) hash(ctx context.Context, backup libvirt.Backup, began *replicator.Begun) error {
	const op = "hash the disks"
	exports := make(map[string]libvirt.BackupDisk)
	for _, d := range backup.Disks {
		exports[d.Name] = d
	}
	if err := os.RemoveAll(e.hashFolder()); err != nil {
		return e.fail("", op, "", err)
	}
	// Mkdir refuses a name that somebody else has taken meanwhile.
	if err := os.Mkdir(e.hashFolder(), 0o700); err != nil {
		return e.fail("", op, "", err)
	}
	doc := spec.Hash{Version: spec.Version}
	for _, d := range began.Disks {
		doc.Disks = append(doc.Disks, spec.HashDisk{Name: d.Name, Socket: backup.Socket, Export: exports[d.Name].Export,
			Bitmap: exports[d.Name].Bitmap, Size: d.Size, Out: filepath.Join(e.hashFolder(), d.Name+".part")})
	}
	var err error
	if e.session, err = dataplane.Start(ctx, e.opts.DataPlane, dataplane.Hash, doc); err != nil {
		return e.withDomain(op, err)
	}
	e.hashes = map[string]string{}
	for _, d := range began.Disks {
		e.hashes[d.Name] = filepath.Join(e.hashFolder(), d.Name+".idx")
	}
	return nil
}

// keepHashes makes of what was hashed the indexes that travel: in those the many blocks of
// zeros are absent, and the few that have changed are not.
func (e *End) keepHashes(ctx context.Context) error {
	for name, path := range e.hashes {
		part := filepath.Join(e.hashFolder(), name+".part")
		if err := markChanged(ctx, part, path); err != nil {
			return e.fail("", "hash the disks", "", fmt.Errorf("disk %s: %w", name, err))
		}
		if err := os.Remove(part); err != nil {
			return e.fail("", "hash the disks", "", err)
		}
	}
	return nil
}

// markChanged writes an index in which the blocks that another one leaves out have the hash
// ChangedSince, and zeros are absent.
func markChanged(ctx context.Context, from, to string) (err error) {
	in, err := blockindex.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := blockindex.Create(to, in.Size())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	next := int64(0)
	skipTo := func(block int64) error {
		for ; next < block; next++ {
			if err := out.Set(next, replicator.ChangedSince); err != nil {
				return err
			}
		}
		return nil
	}
	for entry, err := range in.Present(ctx) {
		if err != nil {
			return err
		}
		if err := skipTo(entry.Block); err != nil {
			return err
		}
		next = entry.Block + 1
		if entry.Hash == blockindex.Zero {
			continue
		}
		if err := out.Set(entry.Block, entry.Hash); err != nil {
			return err
		}
	}
	return errors.Join(skipTo(in.Blocks()), out.Sync())
}

// Hashed implements replicator.SourceEnd.
func (e *End) Hashed(_ context.Context, req replicator.KnownRequest) (*replicator.KnownPart, error) {
	const op = "read a block index"
	path, ok := e.hashes[req.Disk]
	if e.closed || !e.handed || !ok {
		return nil, e.sequence(op)
	}
	part, err := replicator.ReadPart(path, req.Offset)
	if err != nil {
		return nil, e.fail("", op, "", err)
	}
	part.Disk = req.Disk
	return part, nil
}
