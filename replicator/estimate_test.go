package replicator

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"vmsync/internal/event"
)

func TestEstimateOfAPlan(t *testing.T) {
	mixed := &Plan{Parent: "c", Disks: []PlanDisk{
		{Name: "vda", Size: 100, Incremental: true},
		{Name: "vdb", Size: 50, Reason: "it is new"},
		{Name: "vdc", Size: 30, Resync: true, Reason: "asked for"},
	}}
	full := func(d event.DiskEstimate) event.DiskEstimate { d.Bytes, d.AtMost = d.Size, true; return d }
	vdb := full(event.DiskEstimate{Disk: "vdb", Kind: "full", Size: 50, Reason: "it is new"})
	vdc := full(event.DiskEstimate{Disk: "vdc", Kind: "resync", Size: 30, Reason: "asked for"})
	for name, c := range map[string]struct {
		changed map[string]int64
		unknown string
		vda     event.DiskEstimate
		bytes   int64
	}{
		"known":                       {map[string]int64{"vda": 7}, "", event.DiskEstimate{Disk: "vda", Kind: "incremental", Size: 100, Bytes: 7}, 87},
		"the last piece is not whole": {map[string]int64{"vda": 164}, "", event.DiskEstimate{Disk: "vda", Kind: "incremental", Size: 100, Bytes: 100}, 180},
		"unknown":                     {nil, "broken", full(event.DiskEstimate{Disk: "vda", Kind: "incremental", Size: 100, Reason: "broken"}), 180},
	} {
		want := &event.Estimate{Kind: "mixed", Bytes: c.bytes, AtMost: true, Disks: []event.DiskEstimate{c.vda, vdb, vdc}}
		if diff := cmp.Diff(want, mixed.estimate(c.changed, c.unknown)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	quiet := &Plan{Parent: "c", Disks: mixed.Disks[:1]}
	if e := quiet.estimate(map[string]int64{"vda": 0}, ""); e.Kind != "incremental" || e.AtMost || e.Bytes != 0 {
		t.Errorf("nothing changed: %+v", e)
	}
}
