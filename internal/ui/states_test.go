package ui

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vmsync/internal/event"
)

// stored are events about stored states. What is in them may come from elsewhere.
func stored() []event.Event {
	return []event.Event{
		event.StateVerified{Domain: "vm1", State: "s1"},
		event.StateVerified{Domain: "vm1", State: "s2", Damaged: "disk vda: \x1b[31mbad", Hint: "delete it"},
		event.StateVerified{Domain: "vm1", State: "s3", Unknown: "it is being merged"},
		event.Verified{Domain: "vm1", States: 3, Damaged: 1, Unknown: 1, Images: 1, Read: 5 << 20, Duration: 1500 * time.Millisecond},
		event.Compared{Domain: "vm1", State: "s1", Disk: "vda", Read: 10, Equal: 1 << 20, Changed: 65536, Different: 65536, First: 131072},
		event.Compared{Domain: "vm1", State: "s1", Disk: "vdb", Equal: 1 << 20},
		event.Restored{Domain: "vm1", State: "s1", Disks: []event.RestoredDisk{{Disk: "vda", Path: "/to/vda.img", Format: "raw", Size: 1 << 20}},
			Files: []string{"/to/domain.xml"}, Defined: "vm2", Duration: time.Second},
		event.Exported{Domain: "vm1", State: "s1", Disks: []event.ExportedDisk{{Disk: "vda", URI: "nbd://h:1/vda", Size: 512}, {Disk: "vdb", URI: "nbd://h:1/vdb", Size: 1024}}},
		event.Exported{Domain: "vm1", State: "s1", Writable: true},
		event.Exported{Domain: "vm1", State: "s1", Writable: true, Kept: "/to/x"},
		event.Kept{Domain: "vm1", State: "s1", Disks: []event.KeptDisk{{Disk: "vda", Path: "/to/x", Size: 1 << 20}}},
	}
}

func TestStoredStatesAsText(t *testing.T) {
	var b bytes.Buffer
	out := New(Options{Out: &b})
	for _, e := range stored() {
		out.Emit(e)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	const want = `state s1: verified
state s2: DAMAGED: disk vda: ` + "\uFFFD" + `[31mbad; delete it
state s3: not verified: it is being merged
vm1: 1 of 3 states verified as received
  5.0 MiB of 1 image read in 1.5 s
disk vda of state s1: 1.0 MiB the same as on the source, 64.0 KiB changed there since, 64.0 KiB DIFFERENT, the first at offset 131072
disk vdb of state s1: 1.0 MiB the same as on the source
vm1: state s1 restored and verified in 1.0 s
  disk vda: /to/vda.img (raw, 1.0 MiB)
  /to/domain.xml
  domain vm2 defined, shut off
vm1: state s1 is exported, read-only
  nbd://h:1/vda
  nbd://h:1/vdb
vm1: state s1 is exported, writable; what is written is thrown away at the end
vm1: state s1 is exported, writable; what is written is kept at the end: /to/x
vm1: what was written over state s1 is kept
  disk vda: /to/x (qcow2, 1.0 MiB)
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestStoredStatesAsJSON(t *testing.T) {
	var b bytes.Buffer
	out := New(Options{Out: &b, JSON: true, now: func() time.Time { return time.Unix(0, 0) }})
	for _, e := range stored() {
		out.Emit(e)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	const at = `{"time":"1970-01-01T00:00:00Z","event":`
	const want = at + `"state_verified","domain":"vm1","state":"s1","verified":true}
` + at + `"state_verified","domain":"vm1","state":"s2","verified":false,"damaged":"disk vda: \u001b[31mbad","hint":"delete it"}
` + at + `"state_verified","domain":"vm1","state":"s3","verified":false,"unknown":"it is being merged"}
` + at + `"verified","domain":"vm1","states":3,"damaged_states":1,"unknown_states":1,"images":1,"read_bytes":5242880,"duration_seconds":1.5}
` + at + `"compared","domain":"vm1","state":"s1","disk":"vda","read_bytes":10,"equal_bytes":1048576,"changed_bytes":65536,"different_bytes":65536,"first_offset":131072}
` + at + `"compared","domain":"vm1","state":"s1","disk":"vdb","read_bytes":0,"equal_bytes":1048576,"changed_bytes":0,"different_bytes":0}
` + at + `"restored","domain":"vm1","state":"s1","disks":[{"disk":"vda","path":"/to/vda.img","format":"raw","size_bytes":1048576}],"files":["/to/domain.xml"],"defined":"vm2","duration_seconds":1}
` + at + `"exported","domain":"vm1","state":"s1","writable":false,"disks":[{"disk":"vda","uri":"nbd://h:1/vda","size_bytes":512},{"disk":"vdb","uri":"nbd://h:1/vdb","size_bytes":1024}]}
` + at + `"exported","domain":"vm1","state":"s1","writable":true,"disks":[]}
` + at + `"exported","domain":"vm1","state":"s1","writable":true,"kept":"/to/x","disks":[]}
` + at + `"kept","domain":"vm1","state":"s1","disks":[{"disk":"vda","path":"/to/x","size_bytes":1048576}]}
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}
