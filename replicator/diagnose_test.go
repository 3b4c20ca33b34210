package replicator

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// seen is a pair in good order, after some syncs.
func seen() Seen {
	return Seen{Domain: "vm1", TargetDomain: "vm1",
		Source: &SourceView{Name: "vm1", UUID: "u", HostID: "a", Running: true, State: "running",
			Disks:       []SourceDisk{{Name: "vda", Format: "qcow2", Size: 10 << 30}, {Name: "sda", Ignored: true, Unfit: "a cdrom"}},
			Checkpoints: []SourceCheckpoint{{Name: "vmsync-0a1b2c3d-7", Generation: 7, Disks: []string{"vda"}}}},
		Target: &TargetView{Pair: "0a1b2c3d", HostID: "b", Folder: "/s/vm1", UUID: "u", LastUsed: 7,
			Head: &Head{Generation: 7, Checkpoint: "vmsync-0a1b2c3d-7", Time: time.Date(2026, 11, 21, 7, 3, 1, 0, time.UTC), Disks: []HeadDisk{{"vda", 10 << 30}}},
			Look: &TargetLook{Exists: true, Source: "hosta", Role: "replica", Keep: "3", States: 3, Domain: "shut off", Allocated: 1 << 30, Free: 9 << 30}}}
}

func TestDiagnosis(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(*Seen)
		wrong bool
		want  []string // "PART LEVEL text", parts of a line each
		not   []string
	}{
		{"nothing wrong", func(*Seen) {}, false, []string{
			"source fine the domain is running", "source fine disk vda, qcow2 of 10 GiB", "source fine checkpoint vmsync-0a1b2c3d-7 knows what changed on vda",
			"target fine 3 states in /s/vm1, the newest of 2026-11-21 07:03:01Z, on vda", "target fine policy: keep 3", "target fine the replica's domain is shut off",
			"target fine the images take 1.0 GiB on disk, 9.0 GiB are free", "next fine incremental: it sends what changed since vmsync-0a1b2c3d-7"},
			[]string{"note", "wrong", "sda"}},
		{"first sync", func(s *Seen) {
			s.Source.Checkpoints = nil
			s.Target = &TargetView{HostID: "b", Folder: "/s/vm1", Look: &TargetLook{Free: 1}}
		}, false, []string{"target note there is no replica in /s/vm1|the first sync makes it", "next note disk vda: sent in full: first sync"}, []string{"wrong", "does not know"}},
		{"source off", func(s *Seen) { s.Source.Running, s.Source.State = false, "shut off" }, true,
			[]string{"source wrong the domain is shut off|virsh start vm1", "next wrong it refuses: look at the source: the domain is shut off"}, nil},
		{"source out of reach", func(s *Seen) {
			s.Source, s.SourceErr = nil, &Error{Kind: KindUnreachable, Op: "connect to hosta", Hint: "try: ssh hosta", Err: errors.New("no route")}
		}, true, []string{"source wrong the source could not be looked at: connect to hosta: no route|try: ssh hosta", "target fine 3 states", "next note nobody can tell without seeing the source"}, nil},
		{"target out of reach", func(s *Seen) { s.Target, s.TargetErr = nil, errors.New("no route") }, true,
			[]string{"source fine the domain is running", "source note checkpoints of replicas: vmsync-0a1b2c3d-7", "target wrong the target could not be looked at: no route", "next note nobody can tell without seeing the target"}, nil},
		{"both out of reach", func(s *Seen) { *s = Seen{Domain: "vm1", SourceErr: errors.New("x"), TargetErr: errors.New("y")} }, true,
			[]string{"next note nobody can tell without seeing both ends"}, nil},
		{"run on the target without a source", func(s *Seen) { s.Source.HostID = "b" }, false,
			[]string{"source note the source was not looked at|which was on hosta: --source-uri", "next note nobody can tell without seeing the source"}, nil},
		{"replica beside its source", func(s *Seen) { s.Source.HostID, s.TargetDomain = "b", "vm1-copy" }, false, []string{"next fine incremental"}, nil},
		{"leftovers", func(s *Seen) {
			s.Source.Leftovers, s.Target.Look.Leftovers, s.Target.Look.Staged = []string{"the backup job of a dead sync"}, []string{"files of dead runs: disks/x"}, []string{"vda"}
		}, false, []string{"source note left behind: the backup job of a dead sync|--fix", "target note left behind: files of dead runs: disks/x|--fix",
			"target note a sync that did not end has received a part of vda|goes on"}, nil},
		{"another run", func(s *Seen) {
			s.Source.HeldBy, s.Target.Look.InUse = "another run holds the lock: process 7 (sync of vm1)", true
		}, false, []string{"source note another run holds the lock: process 7", "target note a run is at work", "next note it waits some seconds"}, nil},
		{"a job that libvirt lost", func(s *Seen) { s.Source.BusyWith, s.Source.JobLost = "backup", true }, true,
			[]string{"source wrong libvirt holds the domain for a backup|restart libvirtd", "next wrong it refuses"}, nil},
		{"another program's job", func(s *Seen) { s.Source.BusyWith = "migration" }, true,
			[]string{"source wrong another program's job excludes a backup: migration|virsh domjobinfo vm1", "next wrong it refuses"}, nil},
		{"checkpoint lost", func(s *Seen) { s.Source.Checkpoints = nil }, false,
			[]string{"source note libvirt does not know checkpoint vmsync-0a1b2c3d-7, which tells|compares whole disks", "next note incremental: it sends what changed since vmsync-0a1b2c3d-7, if the bitmaps"}, nil},
		{"checkpoint forgotten", func(s *Seen) { s.Source.Orphans, s.Source.Checkpoints = s.Source.Checkpoints, nil }, false,
			[]string{"source note libvirt does not know checkpoint vmsync-0a1b2c3d-7, but its bitmaps are there on vda|goes on with it", "next note incremental"}, []string{"which tells"}},
		{"old and foreign checkpoints", func(s *Seen) {
			s.Source.Checkpoints = append(s.Source.Checkpoints, SourceCheckpoint{Name: "vmsync-0a1b2c3d-3", Generation: 3}, SourceCheckpoint{Name: "vmsync-ffffffff-1", Generation: 1})
			s.Source.Orphans = []SourceCheckpoint{{Name: "vmsync-0a1b2c3d-2", Generation: 2, Disks: []string{"vda"}}, {Name: "vmsync-eeeeeeee-2", Generation: 2}}
		}, false, []string{"source note checkpoint vmsync-0a1b2c3d-3 is of no use", "source note checkpoints of other replicas of this domain: vmsync-ffffffff-1, vmsync-eeeeeeee-2 (its bitmaps only)|checkpoint-delete",
			"source note libvirt does not know checkpoint vmsync-0a1b2c3d-2, but its bitmaps are there on vda|deletes them", "next fine it deletes vmsync-0a1b2c3d-3, vmsync-0a1b2c3d-2"}, nil},
		{"disk no longer fit", func(s *Seen) { s.Source.Disks[0].Unfit = "it is raw" }, true,
			[]string{"source wrong disk vda is part of the replica and cannot be replicated any more: it is raw", "next wrong it refuses"}, nil},
		{"disk left out", func(s *Seen) { s.Source.Disks = append(s.Source.Disks, SourceDisk{Name: "vdb", Unfit: "it is raw"}) }, false,
			[]string{"source note disk vdb is left out: it is raw", "next fine incremental"}, nil},
		{"new and resized disks", func(s *Seen) {
			s.Source.Disks[0].Size++
			s.Source.Disks = append(s.Source.Disks, SourceDisk{Name: "vdb", Format: "qcow2", Size: 1 << 30})
		}, false, []string{"next note disk vda: all of it is compared, and what differs is sent: resized", "next note disk vdb: sent in full: new disk"}, []string{"incremental"}},
		{"damaged", func(s *Seen) {
			s.Target.Look.Damaged, s.Target.Head.Damaged = []string{"S: disk vda: torn"}, "disk vda: torn"
		}, true, []string{"target wrong damaged: S: disk vda: torn|states delete vm1@STATE", "next note disk vda: sent in full: what the store holds is damaged"}, nil},
		{"started replica", func(s *Seen) {
			s.Target.Look.Refused = []*Error{{Kind: KindReplicaUsed, Op: "look at the run overlay", Disk: "vda", Hint: "vmsync discard-run vm1", Err: errors.New("the replica was started")}}
		}, true, []string{"target wrong disk vda: look at the run overlay: the replica was started|vmsync discard-run vm1", "next wrong it refuses: look at the run overlay: the replica was started|discard-run"}, nil},
		{"pinned, undefined, nearly full", func(s *Seen) {
			s.Target.Look.Pinned, s.Target.Look.Domain, s.Target.Look.Free = []string{"S: mount /mnt (process 7)"}, "", 1<<20
		}, false, []string{"target note in use: state S: mount /mnt", "target note the replica's domain is not defined", "target note the images take 1.0 GiB on disk, 1.0 MiB are free|vmsync prune vm1"}, nil},
		{"replica of another machine", func(s *Seen) { s.Source.UUID = "other" }, true, []string{"next wrong it refuses: compare both ends: /s/vm1 holds the replica of another machine"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := seen()
			c.spoil(&s)
			d := Diagnose(s)
			var lines []string
			for part, findings := range map[string][]Finding{"source": d.Source, "target": d.Target, "next": d.Next} {
				for _, f := range findings {
					lines = append(lines, fmt.Sprintf("%s %s %s|%s", part, f.Level, f.Text, f.Fix))
				}
			}
			all := strings.Join(lines, "\n")
			for _, want := range c.want {
				text, fix, _ := strings.Cut(want, "|")
				found := false
				for _, l := range lines {
					found = found || strings.HasPrefix(l, text) && strings.Contains(l, fix)
				}
				if !found {
					t.Errorf("%q is not among\n%s", want, all)
				}
			}
			for _, not := range c.not {
				if strings.Contains(all, not) {
					t.Errorf("%q is in\n%s", not, all)
				}
			}
			if d.Wrong() != c.wrong {
				t.Errorf("wrong: %v in\n%s", d.Wrong(), all)
			}
		})
	}
}
