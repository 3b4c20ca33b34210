package source

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vmsync/internal/domainxml"
	"vmsync/internal/libvirt"
	"vmsync/internal/pin"
	"vmsync/nbdproxy/spec"
	"vmsync/replicator"
	"vmsync/replicator/source/ours"
)

const pair = "0a1b2c3d"

func name(generation int64) string { return replicator.CheckpointName(pair, generation) }

func inspected() *End {
	e := New(Options{})
	e.dom, e.pair = &libvirt.Domain{Name: "web"}, pair
	e.disks = map[string]replicator.SourceDisk{
		"vda": {Name: "vda", Size: 1 << 30}, "vdb": {Name: "vdb", Size: 1 << 20},
		"vdc": {Name: "vdc", Unfit: "it is raw"}, "sda": {Name: "sda", Ignored: true},
	}
	e.drives = []domainxml.Disk{
		{Name: "vda", Type: "file", Path: "/img/a.qcow2"}, {Name: "vdb", Type: "block", Path: "/dev/vg/b"},
		{Name: "vdc", Type: "file", Path: "/img/c.raw"}, {Name: "sda", Type: "file", Device: "cdrom"},
	}
	e.checkpoints = []replicator.SourceCheckpoint{{Name: name(1), Generation: 1, Disks: []string{"vda"}}}
	return e
}

func mixed() replicator.BeginRequest {
	return replicator.BeginRequest{Checkpoint: name(2), Parent: name(1),
		Disks: []replicator.BeginDisk{{Name: "vda", Parent: name(1)}, {Name: "vdb"}}}
}

func TestOneBackupMixesFullAndIncrementalDisks(t *testing.T) {
	backup, checkpoint := backupOf(inspected().drives, mixed(), "/s.sock", ours.Place{})
	wantBackup := libvirt.Backup{Socket: "/s.sock", Disks: []libvirt.BackupDisk{
		{Name: "vda", Incremental: name(1), Scratch: "/img/a.qcow2." + name(2) + ".scratch", Export: "vda", Bitmap: "backup-vda"},
		{Name: "vdb", Scratch: "/var/lib/libvirt/images/vmsync-dev-dev-vg-b." + name(2) + ".scratch", Export: "vdb"},
		{Name: "vdc", Excluded: true},
		{Name: "sda", Excluded: true},
	}}
	if diff := cmp.Diff(wantBackup, backup); diff != "" {
		t.Error(diff)
	}
	checkpoint.Description = ""
	want := libvirt.Checkpoint{Name: name(2), Disks: []string{"vda", "vdb"}, Others: []string{"vdc", "sda"}}
	if diff := cmp.Diff(want, checkpoint); diff != "" {
		t.Error(diff)
	}
	disks := []replicator.BegunDisk{{Name: "vda", Size: 1 << 30, Incremental: true}, {Name: "vdb", Size: 1 << 20}}
	wantServe := spec.Serve{Version: spec.Version, Domain: "web", Checkpoint: name(2), Parent: name(1), Listen: "/l", Disks: []spec.ServeDisk{
		{Name: "vda", Socket: "/s.sock", Export: "vda", Bitmap: "backup-vda", Size: 1 << 30},
		{Name: "vdb", Socket: "/s.sock", Export: "vdb", Size: 1 << 20},
	}}
	own := pin.Identity{Certificate: "own", Key: "secret"}
	if diff := cmp.Diff(wantServe, serveOf("web", mixed(), backup, disks, "/l", own, nil)); diff != "" {
		t.Error(diff)
	}
	req := mixed()
	req.Compress, req.Rate, req.Lanes = "s2", 7, 3
	req.Direct = &replicator.DirectTarget{Address: "192.0.2.1:49152", Certificate: "theirs"}
	wantServe.Compress, wantServe.Rate, wantServe.Lanes = "s2", 7, 3
	wantServe.Connect = &spec.Connect{Addresses: []string{"192.0.2.1:49152"}, Certificate: "theirs", Identity: own}
	if diff := cmp.Diff(wantServe, serveOf("web", req, backup, disks, "/l", own, nil)); diff != "" {
		t.Error(diff)
	}
}

func TestSenselessRequestsAreRefused(t *testing.T) {
	if err := inspected().checkRequest(mixed()); err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		kind   string
		change func(*replicator.BeginRequest)
	}{
		"no number":                 {replicator.KindRequest, func(r *replicator.BeginRequest) { r.Checkpoint = "vmsync-0a1b2c3d" }},
		"a foreign name":            {replicator.KindRequest, func(r *replicator.BeginRequest) { r.Checkpoint = "mine" }},
		"no disks":                  {replicator.KindNoDisk, func(r *replicator.BeginRequest) { r.Disks = nil }},
		"an unknown disk":           {replicator.KindNoDisk, func(r *replicator.BeginRequest) { r.Disks[0].Name = "vd" }},
		"an unfit disk":             {replicator.KindDiskUnfit, func(r *replicator.BeginRequest) { r.Disks[1].Name = "vdc" }},
		"a cdrom":                   {replicator.KindDiskUnfit, func(r *replicator.BeginRequest) { r.Disks[1].Name = "sda" }},
		"a disk twice":              {replicator.KindRequest, func(r *replicator.BeginRequest) { r.Disks[1].Name = "vda" }},
		"two parents":               {replicator.KindRequest, func(r *replicator.BeginRequest) { r.Parent = name(7) }},
		"a parent without the disk": {replicator.KindCheckpointInconsistent, func(r *replicator.BeginRequest) { r.Disks[1].Parent = name(1) }},
		"forgetting the parent":     {replicator.KindRequest, func(r *replicator.BeginRequest) { r.Forget = []string{name(1)} }},
		"an unknown way to quiesce": {replicator.KindRequest, func(r *replicator.BeginRequest) { r.Quiesce = "perhaps" }},
		"forgetting a foreign one":  {replicator.KindRequest, func(r *replicator.BeginRequest) { r.Forget = []string{"virtnbdbackup.0"} }},
	} {
		req := mixed()
		c.change(&req)
		if err := inspected().checkRequest(req); replicator.KindOf(err) != c.kind {
			t.Errorf("%s: kind %q (%v), want %q", what, replicator.KindOf(err), err, c.kind)
		}
	}
}

func TestImageOfAnotherDiskIsNoticed(t *testing.T) {
	drives := inspected().drives // vda has /img/a.qcow2, vdb /dev/vg/b
	for name, c := range map[string]struct {
		then map[string]string
		disk string
	}{
		"as it was":                    {map[string]string{"vda": "/img/a.qcow2", "vdb": "/dev/vg/b"}, ""},
		"not known":                    {nil, ""},
		"on top or moved":              {map[string]string{"vda": "/img/old.qcow2", "vdb": "/dev/vg/b"}, ""},
		"changed places":               {map[string]string{"vda": "/dev/vg/b", "vdb": "/img/a.qcow2"}, "vda"},
		"was of a disk that is gone":   {map[string]string{"vda": "/x", "vdz": "/img/a.qcow2"}, "vda"},
		"of a disk that is sent whole": {map[string]string{"vda": "/img/a.qcow2", "vdz": "/dev/vg/b"}, ""},
		"shared by two":                {map[string]string{"vda": "/img/a.qcow2", "vdz": "/img/a.qcow2"}, ""},
	} {
		err := checkPlaces(drives, mixed(), c.then)
		switch {
		case c.disk == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.disk != "" && (replicator.KindOf(err) != replicator.KindCheckpointInconsistent || replicator.AsError(err).Disk != c.disk):
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestJobOtherThanAskedForIsNoticed(t *testing.T) {
	asked, _ := backupOf(inspected().drives, mixed(), "/s.sock", ours.Place{})
	same := func() *libvirt.Backup {
		b := asked
		b.Disks = append([]libvirt.BackupDisk(nil), asked.Disks...)
		return &b
	}
	if err := checkJob(asked, same()); err != nil {
		t.Error(err)
	}
	if err := checkJob(asked, nil); err == nil {
		t.Error("no job passed")
	}
	for what, change := range map[string]func(*libvirt.Backup){
		"incremental became full":   func(b *libvirt.Backup) { b.Disks[0].Incremental = "" },
		"full became incremental":   func(b *libvirt.Backup) { b.Disks[1].Incremental = name(1) },
		"a disk left out is in it":  func(b *libvirt.Backup) { b.Disks[2].Excluded = false },
		"a disk is not in it":       func(b *libvirt.Backup) { b.Disks[0].Excluded = true },
		"a disk nobody asked for":   func(b *libvirt.Backup) { b.Disks = append(b.Disks, libvirt.BackupDisk{Name: "vdz"}) },
		"another export's name":     func(b *libvirt.Backup) { b.Disks[0].Export = "vdb" },
		"another bitmap's name":     func(b *libvirt.Backup) { b.Disks[0].Bitmap = "" },
		"another run's scratchfile": func(b *libvirt.Backup) { b.Disks[0].Scratch = "/x" },
	} {
		b := same()
		change(b)
		if err := checkJob(asked, b); err == nil {
			t.Errorf("%s: passed", what)
		}
	}
}

func TestUnfitDisksAreNamedWithAReason(t *testing.T) {
	good := domainxml.Disk{Name: "vda", Device: "disk", Type: "file", Format: "qcow2", Path: "/a", HasSource: true}
	v3 := header{known: true, qcow2: true, version: 3}
	if why := unfit(good, v3); why != "" {
		t.Errorf("a good disk is unfit: %s", why)
	}
	if why := unfit(good, header{}); why != "" {
		t.Errorf("a disk whose header cannot be read is unfit: %s", why)
	}
	block := good
	block.Type = "block"
	if why := unfit(block, v3); why != "" {
		t.Errorf("qcow2 on a block device is unfit: %s", why)
	}
	for want, c := range map[string]struct {
		change func(*domainxml.Disk)
		h      header
	}{
		"SCSI device":   {func(d *domainxml.Disk) { d.Device = "lun" }, v3},
		"network":       {func(d *domainxml.Disk) { d.Type = "network" }, v3},
		"volume":        {func(d *domainxml.Disk) { d.Type = "volume" }, v3},
		"is raw":        {func(d *domainxml.Disk) { d.Format = "raw" }, v3},
		"unknown":       {func(d *domainxml.Disk) { d.Format = "" }, v3},
		"read-only":     {func(d *domainxml.Disk) { d.ReadOnly = true }, v3},
		"other domains": {func(d *domainxml.Disk) { d.Shareable = true }, v3},
		"thrown away":   {func(d *domainxml.Disk) { d.Transient = true }, v3},
		"encrypted":     {func(d *domainxml.Disk) { d.Encrypted = true }, v3},
		"second file":   {func(d *domainxml.Disk) { d.DataFile = true }, v3},
		"not start":     {func(*domainxml.Disk) {}, header{known: true}},
		"compat=1.1":    {func(*domainxml.Disk) {}, header{known: true, qcow2: true, version: 2}},
	} {
		d := good
		c.change(&d)
		if why := unfit(d, c.h); !strings.Contains(why, want) {
			t.Errorf("reason %q, want one with %q", why, want)
		}
	}
}

func TestDrivesWithoutMediaAreIgnored(t *testing.T) {
	for _, c := range []struct {
		d    domainxml.Disk
		want bool
	}{
		{domainxml.Disk{Device: "cdrom", HasSource: true}, true},
		{domainxml.Disk{Device: "floppy"}, true},
		{domainxml.Disk{Device: "disk"}, true},
		{domainxml.Disk{Device: "disk", HasSource: true}, false},
		{domainxml.Disk{Device: "lun"}, false},
	} {
		if got := ignored(c.d); got != c.want {
			t.Errorf("%+v: ignored is %v", c.d, got)
		}
	}
}

func TestImageHeaderIsRead(t *testing.T) {
	dir := t.TempDir()
	qcow2 := func(version uint32) []byte { return binary.BigEndian.AppendUint32([]byte("QFI\xfb"), version) }
	for what, c := range map[string]struct {
		data []byte
		want header
	}{
		"v3":    {append(qcow2(3), make([]byte, 500)...), header{true, true, 3}},
		"v2":    {qcow2(2), header{true, true, 2}},
		"raw":   {make([]byte, 512), header{known: true}},
		"short": {[]byte("QFI"), header{known: true}},
		"empty": {nil, header{known: true}},
	} {
		path := filepath.Join(dir, what)
		if err := os.WriteFile(path, c.data, 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := readHeader(path); err != nil || got != c.want {
			t.Errorf("%s: %+v, %v", what, got, err)
		}
	}
	if _, err := readHeader(filepath.Join(dir, "missing")); err == nil {
		t.Error("a missing image was read")
	}
}

func TestCheckpointsAreSortedByNumber(t *testing.T) {
	got := vmsyncCheckpoints([]libvirt.Checkpoint{
		{Name: name(10), Disks: []string{"vda"}}, {Name: "virtnbdbackup.0"}, {Name: name(2)}, {Name: "vmsync-ffffffff-9"}, {Name: name(9)},
	})
	want := []replicator.SourceCheckpoint{
		{Name: name(2), Generation: 2}, {Name: name(9), Generation: 9}, {Name: "vmsync-ffffffff-9", Generation: 9},
		{Name: name(10), Generation: 10, Disks: []string{"vda"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestMethodsOutOfOrderAreRefused(t *testing.T) {
	e := New(Options{})
	ctx := t.Context()
	if _, err := e.Begin(ctx, mixed()); replicator.KindOf(err) != replicator.KindSequence {
		t.Errorf("Begin: %v", err)
	}
	if _, err := e.Wait(ctx, nil); replicator.KindOf(err) != replicator.KindSequence {
		t.Errorf("Wait: %v", err)
	}
	if err := e.Finish(ctx, nil); replicator.KindOf(err) != replicator.KindSequence {
		t.Errorf("Finish: %v", err)
	}
	for range 2 {
		if err := e.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	if _, err := e.Inspect(ctx, replicator.InspectRequest{Domain: "x"}); replicator.KindOf(err) != replicator.KindSequence {
		t.Errorf("Inspect after Close: %v", err)
	}
}
