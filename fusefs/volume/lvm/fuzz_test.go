package lvm

import (
	"testing"

	"vmsync/fusefs/volume/mapping"
)

// sample has a volume of each kind, on physical volumes that read as zeros.
const sample = `vg {
id = "KJ1rZH-J66l-FqhJ-HS6H-1uGh-isd2-oZ5zNK"
seqno = 7
format = "lvm2" # informational
status = ["RESIZEABLE", "READ", "WRITE"]
flags = []
extent_size = 8
physical_volumes {
pv0 { id = "A" device = "/dev/vda" status = ["ALLOCATABLE"] flags = [] pe_start = 8 pe_count = 90 }
pv1 { id = "B" flags = [] pe_start = 8 pe_count = 90 }
}
logical_volumes {
plain { id = "1" status = ["READ", "VISIBLE"] segment_count = 2
 segment1 { start_extent = 0 extent_count = 2 type = "striped" stripe_count = 1 stripes = ["pv0", 0] }
 segment2 { start_extent = 2 extent_count = 2 type = "striped" stripe_count = 2 stripe_size = 8 stripes = ["pv0", 9, "pv1", 1] } }
raid { status = ["VISIBLE"] segment_count = 1
 segment1 { start_extent = 0 extent_count = 1 type = "raid1" device_count = 2 region_size = 8 raids = ["raid_rmeta_0", "leg", "raid_rmeta_1", "leg"] } }
raid_rmeta_0 { segment_count = 1 segment1 { start_extent = 0 extent_count = 1 type = "zero" } }
raid_rmeta_1 { segment_count = 1 segment1 { start_extent = 0 extent_count = 1 type = "zero" } }
leg { segment_count = 1 segment1 { start_extent = 0 extent_count = 1 type = "linear" stripe_count = 1 stripes = ["plain", 1] } }
snap { segment_count = 1 segment1 { start_extent = 0 extent_count = 1 type = "striped" stripe_count = 1 stripes = ["pv1", 0] } }
snapshot0 { status = ["VISIBLE"] segment_count = 1 segment1 { start_extent = 0 extent_count = 1 type = "snapshot" chunk_size = 8 origin = "plain" cow_store = "snap" } }
thin { status = ["VISIBLE"] segment_count = 1 segment1 { start_extent = 0 extent_count = 1 type = "thin" thin_pool = "pool" transaction_id = 0 device_id = 1 external_origin = "plain" } }
pool { status = ["VISIBLE"] segment_count = 1 segment1 { start_extent = 0 extent_count = 1 type = "thin-pool" metadata = "leg" pool = "plain" chunk_size = 128 } }
}
}
contents = "a \"text\" with \\"
creation_time = 1795303095
`

// volumes are those of a group whose physical volumes are all the same.
func volumes(t *testing.T, g *group, pv *physical) []Volume {
	t.Helper()
	found, err := g.volumes(map[string][]*physical{"A": {pv}, "B": {pv}}, &room{maxVolumes, maxPools, maxRuns})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func FuzzMetadata(f *testing.F) {
	f.Add([]byte(sample))
	f.Add([]byte("vg { seqno = 1 extent_size = 8 logical_volumes { a { status = [\"VISIBLE\"] segment_count = 1 segment1 { start_extent = 0 extent_count = 1 type = \"linear\" stripe_count = 1 stripes = [\"a\", 0] } } } }"))
	f.Fuzz(func(t *testing.T, text []byte) {
		g, err := parseGroup(text)
		if err != nil {
			return
		}
		zeros := &physical{device: mapping.Zero(1 << 20)}
		buf := make([]byte, 4096)
		for _, v := range volumes(t, g, zeros) {
			if (v.Err == nil) != (v.Device != nil) {
				t.Fatalf("%+v", v)
			}
			if v.Err != nil {
				continue
			}
			for _, off := range []int64{0, v.Device.Size() / 2, v.Device.Size() - 1} {
				if off >= 0 {
					v.Device.ReadAt(buf, off)
				}
				if start, end, err := v.Device.Data(max(off, 0)); err == nil && (start < off || end < start || end > v.Device.Size()) {
					t.Fatalf("%s: data at or after %d: %d to %d", v.Name, off, start, end)
				}
			}
		}
	})
}

func TestSampleIsUnderstood(t *testing.T) {
	g, err := parseGroup([]byte(sample))
	if err != nil {
		t.Fatal(err)
	}
	zeros := &physical{device: mapping.Zero(1 << 20)}
	readable := map[string]bool{}
	for _, v := range volumes(t, g, zeros) {
		readable[v.Name] = v.Err == nil
	}
	// The store and the pool hold zeros, and thus no header.
	want := map[string]bool{"plain": true, "raid": true, "snap": false, "thin": false}
	for name, is := range want {
		if got, ok := readable[name]; !ok || got != is {
			t.Errorf("%s: %v", name, readable)
		}
	}
	if len(readable) != len(want) {
		t.Errorf("%v", readable)
	}
}

func TestVolumesThatContainThemselves(t *testing.T) {
	const text = `vg { seqno = 1 extent_size = 8 physical_volumes { pv0 { id = "A" pe_start = 8 } } logical_volumes {
a { status = ["VISIBLE"] segment_count = 1 segment1 { start_extent = 0 extent_count = 1 type = "linear" stripe_count = 1 stripes = ["b", 0] } }
b { segment_count = 1 segment1 { start_extent = 0 extent_count = 1 type = "linear" stripe_count = 1 stripes = ["a", 0] } }
good { status = ["VISIBLE"] segment_count = 1 segment1 { start_extent = 0 extent_count = 1 type = "linear" stripe_count = 1 stripes = ["pv0", 0] } } } }`
	g, err := parseGroup([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	v := volumes(t, g, &physical{device: mapping.Zero(1 << 20)})
	if len(v) != 2 || v[0].Err == nil || v[1].Err != nil {
		t.Fatalf("%+v", v)
	}
}
