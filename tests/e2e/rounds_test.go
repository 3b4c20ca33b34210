package e2e

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"vmsync/tests/lab"
)

// TestTwentyRoundsEqualTheCheckpoint writes at random between and during syncs.
// What a replica must equal is not the disk, which moves on, but the disk at the
// checkpoint: while each sync is held right after its backup began, the test
// reads the whole export on its own, and goes on writing to the disk.
func TestTwentyRoundsEqualTheCheckpoint(t *testing.T) {
	const held = "/run/vmsync-hold"
	disks := []string{"vda", "vdb"}
	sizes := map[string]int64{"vda": 192 * mib, "vdb": 96*mib + 64*kib}
	m := machine(t, qcow2("vda", sizes["vda"]), qcow2("vdb", sizes["vdb"]))
	withFault(t, hosta, "source-after-thaw=wait:"+held)
	t.Cleanup(func() {
		ctx, cancel := cleanupContext()
		defer cancel()
		if _, err := hosta.Run(ctx, "rm", "-rf", "/var/tmp/truth", held, held+".hit"); err != nil {
			t.Error(err)
		}
	})
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for round := range 20 {
		scribble(t, m, rng, sizes, 12)
		if _, err := hosta.Run(t.Context(), "rm", "-f", held, held+".hit"); err != nil {
			t.Fatal(err)
		}
		r := start(t, hostb, fromTarget(m.Name())...)
		eventually(t, "the sync is held", func() bool { return exists(t, hosta, held+".hit") })
		truth(t, m, disks)
		scribble(t, m, rng, sizes, 6) // the replica must not see these
		if err := hosta.WriteFile(held, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		s := succeeded(t, r.wait())
		if want := "incremental"; round > 0 && s.Kind != want {
			t.Fatalf("round %d was %s", round, s.Kind)
		}
		for _, d := range disks {
			identical(t, "raw", hosta.Path("/var/tmp/truth/"+d+".raw"), topImage(t, m.Name(), d))
		}
	}
	onlyPlainImages(t, m.Name())
	nothingLeft(t, m)
}

// scribble changes n random ranges of random disks.
func scribble(t *testing.T, m *lab.Machine, rng *rand.Rand, sizes map[string]int64, n int) {
	t.Helper()
	var changes []lab.Change
	for range n {
		disk := []string{"vda", "vdb"}[rng.IntN(2)]
		length := (1 + rng.Int64N(4*mib/512)) * 512
		offset := rng.Int64N((sizes[disk]-length)/512) * 512
		kind := rng.IntN(256)
		switch rng.IntN(6) {
		case 0:
			kind = lab.Zero
		case 1:
			kind = lab.Discard
		}
		changes = append(changes, lab.Change{Target: disk, Offset: offset, Length: length, Pattern: kind})
	}
	if err := m.DirtyAll(t.Context(), changes); err != nil {
		t.Fatal(err)
	}
}

// truth copies the open backup's exports to /var/tmp/truth on hosta, with a
// client that has nothing to do with vmsync.
func truth(t *testing.T, m *lab.Machine, disks []string) {
	t.Helper()
	xml, err := hosta.Run(t.Context(), "virsh", "backup-dumpxml", m.Name())
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(xml, "socket='")
	socket, _, ok2 := strings.Cut(rest, "'")
	if !ok || !ok2 {
		t.Fatalf("no socket in %s", xml)
	}
	if _, err := hosta.Run(t.Context(), "mkdir", "-p", "/var/tmp/truth"); err != nil {
		t.Fatal(err)
	}
	for _, d := range disks {
		if _, err := hosta.Run(t.Context(), "qemu-img", "convert", "-f", "raw", "-O", "raw",
			fmt.Sprintf("nbd+unix:///%s?socket=%s", d, socket), "/var/tmp/truth/"+d+".raw"); err != nil {
			t.Fatal(err)
		}
	}
}
