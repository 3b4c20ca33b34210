package e2e

import (
	"encoding/json"
	"strings"
	"testing"
)

// estimated is what `vmsync sync --estimate --json` says.
type estimated struct {
	Event  string `json:"event"`
	Kind   string `json:"kind"`
	Bytes  int64  `json:"bytes"`
	AtMost bool   `json:"at_most"`
	Disks  []struct {
		Disk  string `json:"disk"`
		Kind  string `json:"kind"`
		Bytes int64  `json:"bytes"`
	} `json:"disks"`
}

func estimate(t *testing.T, domain string, flags ...string) (e estimated) {
	t.Helper()
	out, err := hostb.Run(t.Context(), append([]string{"vmsync", "sync", domain, "--source-uri", uriA, "--estimate", "--json"}, flags...)...)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := json.Unmarshal([]byte(out), &e); err != nil || e.Event != "estimate" {
		t.Fatalf("%v\n%s", err, out)
	}
	return e
}

// What is estimated is what the sync then finds, and estimating changes nothing.
func TestEstimateIsWhatTheSyncFinds(t *testing.T) {
	m := machine(t, qcow2("vda", 128*mib), qcow2("vdb", 64*mib))
	if e := estimate(t, m.Name()); e.Kind != "full" || !e.AtMost || e.Bytes != 192*mib {
		t.Errorf("before the first sync: %+v", e)
	}
	if mf := manifest(t, m.Name()); mf != nil {
		t.Error("an estimate made a replica")
	}
	sync(t, m.Name())
	before := checkpoints(t, m)
	if e := estimate(t, m.Name()); e.Kind != "incremental" || e.AtMost || e.Bytes != 0 {
		t.Errorf("nothing changed: %+v", e)
	}
	dirty(t, m, "vda", 5*mib, 3*mib, 0x77)
	dirty(t, m, "vdb", 64*kib, 1, 0x78) // counts as a piece of the bitmap
	e := estimate(t, m.Name())
	if e.Kind != "incremental" || e.AtMost || len(e.Disks) != 2 || e.Disks[0].Bytes != 3*mib || e.Disks[1].Bytes != 64*kib {
		t.Errorf("changed: %+v", e)
	}
	if got := checkpoints(t, m); strings.Join(got, " ") != strings.Join(before, " ") {
		t.Errorf("an estimate changed the checkpoints from %v to %v", before, got)
	}
	if e := estimate(t, m.Name(), "--resync"); e.Kind != "resync" || !e.AtMost || e.Bytes != 192*mib {
		t.Errorf("of a resync: %+v", e)
	}
	if s := sync(t, m.Name()); s.ChangedBytes != e.Bytes {
		t.Errorf("%d bytes were estimated, the sync found %d", e.Bytes, s.ChangedBytes)
	}
	nothingLeft(t, m)

	out, err := hostb.Run(t.Context(), "vmsync", "sync", m.Name(), "--source-uri", uriA, "--estimate")
	if err != nil || !strings.Contains(out, m.Name()+": incremental, 0 B to send") {
		t.Errorf("%v\n%s", err, out)
	}
	failed(t, start(t, hostb, "sync", "no-such-machine", "--source-uri", uriA, "--estimate", "--json").wait(), 1, "unknown-domain", "no-such-machine", "")
	if err := m.Destroy(t.Context()); err != nil {
		t.Fatal(err)
	}
	failed(t, start(t, hostb, "sync", m.Name(), "--source-uri", uriA, "--estimate", "--json").wait(), 1, "domain-off", m.Name(), "")
}
