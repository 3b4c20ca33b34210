package replicator

import "testing"

func TestCheckpointNameIsReadBack(t *testing.T) {
	name := CheckpointName("0a1b2c3d", 10)
	if name != "vmsync-0a1b2c3d-10" {
		t.Fatalf("name is %q", name)
	}
	pair, generation, ok := ParseCheckpointName(name)
	if !ok || pair != "0a1b2c3d" || generation != 10 {
		t.Errorf("got %q %d %v", pair, generation, ok)
	}
}

func TestForeignCheckpointNamesAreNotOurs(t *testing.T) {
	for _, name := range []string{
		"", "vmsync-", "vmsync-0a1b2c3d", "vmsync-0a1b2c3d-", "vmsync-0a1b2c3d-0", "vmsync-0a1b2c3d--1",
		"vmsync-0a1b2c3d-01", "vmsync-0a1b2c3d-+1", "vmsync-0A1B2C3D-1", "vmsync-0a1b2c3-1", "vmsync-0a1b2c3d4-1",
		"vmsync-0a1b2c3d-1x", "vmsync-0a1b2c3d-9223372036854775808", "virtnbdbackup.0", "vmsync-../../xx-1",
	} {
		if _, _, ok := ParseCheckpointName(name); ok {
			t.Errorf("%q is taken for ours", name)
		}
	}
}
