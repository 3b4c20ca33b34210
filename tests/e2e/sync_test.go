package e2e

import (
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"vmsync/tests/lab"
)

func TestFullThenIncrementalOfTwoDisks(t *testing.T) {
	m := machine(t, qcow2("vda", 512*mib), qcow2("vdb", 256*mib))
	dirty(t, m, "vda", 1*mib, 20*mib, 0xab)
	dirty(t, m, "vdb", 0, 5*mib, 0xcd)

	s := sync(t, m.Name())
	if s.Kind != "full" || s.data() != 25*mib {
		t.Errorf("first sync: %+v", s)
	}
	sameAsSource(t, m, "vda", "vdb")
	onlyPlainImages(t, m.Name())
	nothingLeft(t, m)

	dirty(t, m, "vda", 3*mib, 64*kib, 0x01)
	dirty(t, m, "vda", 511*mib, mib, 0x02)
	dirty(t, m, "vdb", 128*mib, 192*kib, 0x03)
	s = sync(t, m.Name())
	if want := mib + 256*kib; s.Kind != "incremental" || s.ChangedBytes != want {
		t.Errorf("second sync: %+v, want %d bytes changed", s, want)
	}
	sameAsSource(t, m, "vda", "vdb")
	onlyPlainImages(t, m.Name())
	nothingLeft(t, m)
}

func TestNothingChangedIsSaid(t *testing.T) {
	m := machine(t, qcow2("vda", 128*mib))
	dirty(t, m, "vda", 0, 4*mib, 0x11)
	first := sync(t, m.Name())
	before := head(t, m.Name())
	second := sync(t, m.Name())
	if second.Kind != "incremental" || second.ChangedBytes != 0 {
		t.Errorf("got %+v", second)
	}
	after := head(t, m.Name())
	if after.Generation <= before.Generation || after.Disks[0].Image != before.Disks[0].Image {
		t.Errorf("head went from %+v to %+v", before, after)
	}
	if first.State > second.State {
		t.Errorf("state went from %s to %s", first.State, second.State)
	}
	sameAsSource(t, m, "vda")
	nothingLeft(t, m)

	out, err := hostb.Run(t.Context(), "vmsync", "sync", m.Name(), "--source-uri", uriA)
	if err != nil || !strings.Contains(strings.ToLower(out), "nothing changed") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestSyncFromEveryPlace(t *testing.T) {
	m := machine(t, qcow2("vda", 128*mib))
	for i, c := range []struct {
		name string
		on   *lab.Host
		args []string
	}{
		{"target", hostb, []string{"sync", m.Name(), "--source-uri", uriA}},
		{"source", hosta, []string{"sync", m.Name(), "--target-uri", uriB}},
		{"third machine", op_, []string{"sync", m.Name(), "--source-uri", uriA, "--target-uri", uriB}},
		{"short form", op_, []string{"-source-domain", m.Name(), "-source-uri", "qemu+ssh://hosta/system", "-target-uri", "qemu+ssh://hostb/system", "-ssh-user", "root"}},
		{"UUID", hostb, []string{"sync", uuidOf(t, m), "--source-uri", uriA}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dirty(t, m, "vda", int64(i)*8*mib, 4*mib, i+1)
			s := succeeded(t, start(t, c.on, append(c.args, "--json")...).wait())
			if s.ChangedBytes != 4*mib && i > 0 {
				t.Errorf("%+v", s)
			}
			sameAsSource(t, m, "vda")
			nothingLeft(t, m)
		})
	}
}

func uuidOf(t *testing.T, m *lab.Machine) string {
	t.Helper()
	out, err := m.Host().Run(t.Context(), "virsh", "domuuid", m.Name())
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// allocated is how many bytes a file takes on disk.
func allocated(t *testing.T, file string) int64 {
	t.Helper()
	var st syscall.Stat_t
	if err := syscall.Stat(file, &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks * 512
}

func TestZeroesAndDiscardsReachTheReplicaAndFreeItsSpace(t *testing.T) {
	m := machine(t, qcow2("vda", 256*mib))
	dirty(t, m, "vda", 0, 96*mib, 0x5a)
	sync(t, m.Name())
	if got := allocated(t, topImage(t, m.Name(), "vda")); got < 96*mib {
		t.Fatalf("the replica takes %d bytes", got)
	}

	dirty(t, m, "vda", 0, 32*mib, lab.Zero)
	dirty(t, m, "vda", 32*mib, 32*mib, lab.Discard)
	dirty(t, m, "vda", 64*mib, 16*mib, 0) // zeros written as data
	s := sync(t, m.Name())
	if s.Kind != "incremental" || s.ZeroBytes != 80*mib || s.data() != 0 || s.SentBytes > 64*kib {
		t.Errorf("%+v", s)
	}
	sameAsSource(t, m, "vda")
	onlyPlainImages(t, m.Name())
	if got := allocated(t, topImage(t, m.Name(), "vda")); got > 17*mib {
		t.Errorf("the replica still takes %d bytes for 16 MiB of data", got)
	}
	zeroed := exec.CommandContext(t.Context(), "qemu-io", "-r", "-f", "qcow2", "-c", "read -P 0 0 80M", "-c", "read -P 0x5a 80M 16M", topImage(t, m.Name(), "vda"))
	if out, err := zeroed.CombinedOutput(); err != nil || strings.Contains(string(out), "failed") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestHolesDoNotTravel(t *testing.T) {
	m := machine(t, qcow2("vda", 64*gib))
	dirty(t, m, "vda", 63*gib, mib, 0x77)
	s := sync(t, m.Name())
	if s.data() != mib || s.SentBytes > 2*mib {
		t.Errorf("%+v", s)
	}
	sameAsSource(t, m, "vda")
	if got := allocated(t, topImage(t, m.Name(), "vda")); got > 4*mib {
		t.Errorf("the replica takes %d bytes", got)
	}
}

func TestHotPluggedDiskIsFullBesideIncrementalOnes(t *testing.T) {
	m := machine(t, qcow2("vda", 128*mib))
	dirty(t, m, "vda", 0, 8*mib, 0x10)
	sync(t, m.Name())

	if err := m.AttachDisk(t.Context(), qcow2("vdb", 128*mib)); err != nil {
		t.Fatal(err)
	}
	dirty(t, m, "vdb", 16*mib, 8*mib, 0x20)
	dirty(t, m, "vda", 64*mib, mib, 0x30)
	s := sync(t, m.Name())
	if s.Kind != "mixed" || s.data() != 9*mib {
		t.Errorf("%+v", s)
	}
	sameAsSource(t, m, "vda", "vdb")
	nothingLeft(t, m)

	dirty(t, m, "vdb", 0, mib, 0x40)
	if s := sync(t, m.Name()); s.Kind != "incremental" || s.ChangedBytes != mib {
		t.Errorf("%+v", s)
	}
	sameAsSource(t, m, "vda", "vdb")
	onlyPlainImages(t, m.Name())

	// Without a guest there is nobody to give a disk up: it goes with a restart.
	if err := m.Destroy(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := hosta.Run(t.Context(), "virsh", "detach-disk", m.Name(), "vda", "--config"); err != nil {
		t.Fatal(err)
	}
	if err := m.StartPaused(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := sync(t, m.Name()); s.Kind != "incremental" {
		t.Errorf("%+v", s)
	}
	if d := head(t, m.Name()).Disks; len(d) != 1 || d[0].Name != "vdb" {
		t.Errorf("replica has %+v", d)
	}
	onlyPlainImages(t, m.Name())
}

func TestFullOnDemandReplacesTheImages(t *testing.T) {
	m := machine(t, qcow2("vda", 128*mib))
	dirty(t, m, "vda", 0, 8*mib, 0x10)
	sync(t, m.Name())
	before := head(t, m.Name()).Disks[0].Image
	s := sync(t, m.Name(), "--full")
	if s.Kind != "full" || s.data() != 8*mib || head(t, m.Name()).Disks[0].Image == before {
		t.Errorf("%+v", s)
	}
	sameAsSource(t, m, "vda")
	onlyPlainImages(t, m.Name())
	nothingLeft(t, m)
}

func TestChosenDisks(t *testing.T) {
	m := machine(t, qcow2("vda", 128*mib), qcow2("vdb", 128*mib), qcow2("vdc", 128*mib))
	for i, d := range []string{"vda", "vdb", "vdc"} {
		dirty(t, m, d, 0, mib, i+1)
	}
	sync(t, m.Name(), "--disk", "vda", "--disk", "vdb", "--exclude-disk", "vdb")
	if d := head(t, m.Name()).Disks; len(d) != 1 || d[0].Name != "vda" {
		t.Errorf("replica has %+v", d)
	}
	sync(t, m.Name(), "--exclude-disk", "vdc")
	sameAsSource(t, m, "vda", "vdb")
	// A disk that the replica holds is not dropped by a slip of the command line.
	failed(t, trySync(t, m.Name(), "--disk", "vda"), 1, "disk-unfit", m.Name(), "vdb")
	sameAsSource(t, m, "vda", "vdb")
}

func TestReplicaUnderAnotherName(t *testing.T) {
	m := machine(t, qcow2("vda", 128*mib))
	dirty(t, m, "vda", 0, mib, 1)
	t.Cleanup(func() { removeReplica(t, "other-name") })
	sync(t, m.Name(), "--target-domain", "other-name")
	if _, err := hostb.Run(t.Context(), "virsh", "dominfo", "other-name"); err != nil {
		t.Error(err)
	}
	if manifest(t, m.Name()) != nil {
		t.Error("the replica is also kept under the source's name")
	}
}
