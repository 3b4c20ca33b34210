package source

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"vmsync/internal/domainxml"
	"vmsync/internal/libvirt"
	"vmsync/internal/pin"
	"vmsync/nbdproxy/spec"
	"vmsync/replicator"
	"vmsync/replicator/source/ours"
)

// checkRequest says what is wrong with a request, given what Inspect saw.
func (e *End) checkRequest(req replicator.BeginRequest) error {
	const op = "begin the backup"
	bad := func(format string, args ...any) error {
		return e.fail(replicator.KindRequest, op, "", fmt.Errorf(format, args...))
	}
	pair, _, ok := replicator.ParseCheckpointName(req.Checkpoint)
	if !ok {
		return bad("%q is not the name of a checkpoint of vmsync", req.Checkpoint)
	}
	e.pair = pair
	switch req.Quiesce {
	case replicator.QuiescePreferred, replicator.QuiesceRequired, replicator.QuiesceNo:
	default:
		return bad("%q is no way to quiesce", req.Quiesce)
	}
	if len(req.Disks) == 0 {
		return e.fail(replicator.KindNoDisk, op, "", errors.New("no disk is left to replicate"))
	}
	seen := make(map[string]bool)
	for _, d := range req.Disks {
		disk, ok := e.disks[d.Name]
		switch {
		case seen[d.Name]:
			return bad("disk %s is named twice", d.Name)
		case !ok:
			return &replicator.Error{Kind: replicator.KindNoDisk, Domain: e.dom.Name, Disk: d.Name, Op: op, Err: errors.New("the domain has no such disk")}
		case disk.Unfit != "" || disk.Ignored:
			return &replicator.Error{Kind: replicator.KindDiskUnfit, Domain: e.dom.Name, Disk: d.Name, Op: op, Err: fmt.Errorf("it cannot be replicated: %s", disk.Unfit)}
		case req.HashOnly && d.Parent == "":
			return bad("disk %s has no parent to be compared with", d.Name)
		case d.Parent != "" && d.Parent != req.Parent:
			return bad("disk %s has the parent %s, the stream %s", d.Name, d.Parent, req.Parent)
		case d.Parent != "" && !e.hasCheckpoint(d.Parent, d.Name):
			return &replicator.Error{Kind: replicator.KindCheckpointInconsistent, Domain: e.dom.Name, Disk: d.Name, Op: op, Err: fmt.Errorf("no checkpoint %s tracks it", d.Parent)}
		}
		seen[d.Name] = true
	}
	for _, name := range req.Forget {
		if name == req.Parent && req.Parent != "" || name == req.Checkpoint {
			return bad("checkpoint %s is needed and to be forgotten", name)
		}
		if pair, _, ok := replicator.ParseCheckpointName(name); !ok || pair != e.pair {
			return bad("%q is not a checkpoint of pair %s", name, e.pair)
		}
	}
	return nil
}

// checkPlaces fails if a disk of the request has an image that was another disk's when
// the parent was made. Their bitmaps have the same name, so nobody else would notice,
// and the changes of one disk would be written over the content of the other. An image
// of neither is the disk's own, on top of which another was put, or moved.
func checkPlaces(drives []domainxml.Disk, req replicator.BeginRequest, then map[string]string) error {
	for _, d := range drives {
		i := slices.IndexFunc(req.Disks, func(b replicator.BeginDisk) bool { return b.Name == d.Name })
		if i < 0 || req.Disks[i].Parent == "" || then[d.Name] == d.Path {
			continue
		}
		for other, path := range then {
			if path == d.Path && other != d.Name {
				return &replicator.Error{Kind: replicator.KindCheckpointInconsistent, Disk: d.Name, Op: "begin the backup",
					Err: fmt.Errorf("its image, %s, was that of disk %s when checkpoint %s was made", path, other, req.Parent)}
			}
		}
	}
	return nil
}

// backupOf makes what libvirt gets. Every disk of the domain is named, with those
// that are not in the run left out, because libvirt's default is to include them.
func backupOf(drives []domainxml.Disk, req replicator.BeginRequest, socket string, place ours.Place) (libvirt.Backup, libvirt.Checkpoint) {
	wanted := make(map[string]replicator.BeginDisk, len(req.Disks))
	for _, d := range req.Disks {
		wanted[d.Name] = d
	}
	backup := libvirt.Backup{Socket: socket}
	checkpoint := libvirt.Checkpoint{Name: req.Checkpoint, Description: "made by vmsync; tracks changes for the next sync"}
	for _, drive := range drives {
		d, ok := wanted[drive.Name]
		if !ok {
			backup.Disks = append(backup.Disks, libvirt.BackupDisk{Name: drive.Name, Excluded: true})
			checkpoint.Others = append(checkpoint.Others, drive.Name)
			continue
		}
		disk := libvirt.BackupDisk{Name: drive.Name, Incremental: d.Parent, Export: drive.Name,
			Scratch: ours.ScratchFile(imageOf(drive, place), req.Checkpoint)}
		if d.Parent != "" {
			disk.Bitmap = "backup-" + drive.Name
		}
		backup.Disks = append(backup.Disks, disk)
		checkpoint.Disks = append(checkpoint.Disks, drive.Name)
	}
	return backup, checkpoint
}

// checkJob compares the job that libvirt says it runs with the one that was asked
// for: a libvirt that does not know a per-disk setting may ignore it.
func checkJob(asked libvirt.Backup, got *libvirt.Backup) error {
	if got == nil {
		return errors.New("libvirt has begun the backup but knows of none")
	}
	found := make(map[string]libvirt.BackupDisk)
	for _, d := range got.Disks {
		if !d.Excluded {
			found[d.Name] = d
		}
	}
	var wrong []string
	for _, want := range asked.Disks {
		d, ok := found[want.Name]
		delete(found, want.Name)
		switch {
		case want.Excluded && ok:
			wrong = append(wrong, want.Name+" is in it")
		case want.Excluded:
		case !ok:
			wrong = append(wrong, want.Name+" is not in it")
		case d.Incremental != want.Incremental:
			wrong = append(wrong, fmt.Sprintf("%s is incremental to %q, not %q", want.Name, d.Incremental, want.Incremental))
		case d.Export != want.Export || d.Bitmap != want.Bitmap || d.Scratch != want.Scratch:
			wrong = append(wrong, fmt.Sprintf("%s has export %q, bitmap %q, scratch file %q", want.Name, d.Export, d.Bitmap, d.Scratch))
		}
	}
	for name := range found {
		wrong = append(wrong, name+" is in it")
	}
	if len(wrong) > 0 {
		return fmt.Errorf("libvirt has begun another backup than it was asked for: %s", strings.Join(wrong, "; "))
	}
	return nil
}

// serveOf makes what vmsync-nbd gets. disks are in the request's order; known are the
// files with what the target holds of them.
func serveOf(domain string, req replicator.BeginRequest, backup libvirt.Backup, disks []replicator.BegunDisk, listen string, own pin.Identity, known map[string]string) spec.Serve {
	doc := spec.Serve{Version: spec.Version, Domain: domain, Checkpoint: req.Checkpoint, Parent: req.Parent,
		Listen: listen, Compress: req.Compress, Rate: req.Rate, Lanes: req.Lanes, Patience: req.Patience}
	if req.Direct != nil {
		doc.Connect = &spec.Connect{Addresses: []string{req.Direct.Address}, Certificate: req.Direct.Certificate, Identity: own}
	}
	exports := make(map[string]libvirt.BackupDisk)
	for _, d := range backup.Disks {
		exports[d.Name] = d
	}
	for i, d := range disks {
		export := exports[d.Name]
		serve := spec.ServeDisk{Name: d.Name, Socket: backup.Socket, Export: export.Export, Bitmap: export.Bitmap, Size: d.Size}
		if req.Disks[i].Known {
			serve.Known, serve.KnownPart = known[d.Name], req.Disks[i].KnownPart
		}
		doc.Disks = append(doc.Disks, serve)
	}
	return doc
}
