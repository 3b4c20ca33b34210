package e2e

import (
	"strings"
	"testing"

	"vmsync/tests/lab"
)

// behindItsBack changes a replica's image so that neither manifest nor index knows.
func behindItsBack(t *testing.T, replica, image string, commands ...string) {
	t.Helper()
	argv := []string{"qemu-io", "-f", "qcow2"}
	for _, c := range commands {
		argv = append(argv, "-c", c)
	}
	if _, err := hostb.Run(t.Context(), append(argv, storeDir+"/"+replica+"/"+image)...); err != nil {
		t.Fatal(err)
	}
}

func verify(t *testing.T, args ...string) outcome {
	t.Helper()
	return start(t, hostb, append([]string{"verify", "--json"}, args...)...).wait()
}

// TestDamagedHeadIsNotBootedAndReplaced damages the newest of three states. The domain
// boots the one before it until the next sync, which sends a whole copy.
func TestDamagedHeadIsNotBootedAndReplaced(t *testing.T) {
	m := machine(t, qcow2("vda", 64*mib))
	for i := range 3 {
		dirty(t, m, "vda", int64(i)*4*mib, 6*mib, i+1)
		sync(t, m.Name(), "--keep", "5")
	}
	o := verify(t, m.Name(), "--all")
	if v := o.find("verified"); o.code != 0 || v.DamagedStates != 0 || v.ReadBytes != 18*mib {
		t.Fatalf("exit code %d, %+v\n%s", o.code, v, o.stderr)
	}
	mf := manifest(t, m.Name())
	for _, s := range mf.States {
		if s.Verified == nil {
			t.Errorf("state %s is not marked as verified", s.ID)
		}
	}
	last := mf.Head()
	behindItsBack(t, m.Name(), last.Disks[0].Image, "write -P 77 9M 512")
	o = verify(t, m.Name())
	failed(t, o, 1, "damaged", m.Name(), "")
	s := o.find("state_verified")
	if s.State != last.ID || !strings.Contains(s.Damaged, last.Disks[0].Image) || !strings.Contains(s.Damaged, "offset 9437184") || s.Hint == "" {
		t.Errorf("%+v", s)
	}
	mf = manifest(t, m.Name())
	if before := mf.States[1]; mf.RunState != before.Generation || mf.Run[0].Base != before.Disks[0].Image {
		t.Errorf("the domain boots %d over %+v", mf.RunState, mf.Run)
	}
	if err := hostb.Machine(m.Name()).StartPaused(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := hostb.Machine(m.Name()).Destroy(t.Context()); err != nil {
		t.Fatal(err)
	}

	if s := sync(t, m.Name()); s.Kind != "full" {
		t.Errorf("a %s sync over what is damaged", s.Kind)
	}
	sameAsSource(t, m, "vda")
	if o := verify(t, m.Name()); o.code != 0 {
		t.Errorf("exit code %d\n%s", o.code, o.stderr)
	}
	if mf = manifest(t, m.Name()); mf.RunState != mf.Head().Generation {
		t.Errorf("the domain boots %d", mf.RunState)
	}
	nothingLeft(t, m)
}

// TestVerifyDuringASync reads a replica back while a sync is merging and adding states.
func TestVerifyDuringASync(t *testing.T) {
	m := machine(t, qcow2("vda", 256*mib))
	randomData(t, m, "vda", 0, 96*mib)
	sync(t, m.Name(), "--keep", "3")
	for i := range 5 {
		dirty(t, m, "vda", int64(i)*16*mib, 24*mib, i+1)
		if i%2 == 1 {
			dirty(t, m, "vda", int64(i)*8*mib, 4*mib, lab.Zero)
		}
		v := start(t, hostb, "verify", m.Name(), "--all", "--json")
		sync(t, m.Name())
		if o := v.wait(); o.code != 0 {
			t.Fatalf("%d: exit code %d: %+v\n%s", i, o.code, o.events[max(0, len(o.events)-6):], o.stderr)
		}
	}
	sync(t, m.Name())
	if o := verify(t, m.Name(), "--all"); o.code != 0 {
		t.Fatalf("exit code %d\n%s", o.code, o.stderr)
	}
	sameAsSource(t, m, "vda")
	nothingLeft(t, m)
}

func against(t *testing.T, replica string) outcome {
	t.Helper()
	return verify(t, replica, "--against-source", "--source-uri", uriA)
}

// TestReplicaIsComparedWithItsSource compares a replica that is right, then with a source
// that has gone on, then after a block of the replica has changed behind everybody's back.
func TestReplicaIsComparedWithItsSource(t *testing.T) {
	const size = 256 * mib
	m := machine(t, qcow2("vda", size))
	randomData(t, m, "vda", 0, 24*mib)
	sync(t, m.Name(), "--keep", "3")
	dirty(t, m, "vda", 8*mib, 4*mib, 2)
	dirty(t, m, "vda", 14*mib, mib, lab.Zero)
	sync(t, m.Name())
	checkpoint := checkpoints(t, m)

	o := against(t, m.Name())
	c := o.find("compared")
	if o.code != 0 || c.EqualBytes != size || c.ChangedBytes != 0 || c.DifferentBytes != 0 || c.ReadBytes != 23*mib {
		t.Fatalf("exit code %d, %+v, %+v\n%s", o.code, c, o.find("error"), o.stderr)
	}
	nothingLeft(t, m)

	// The source goes on: over data, over zeros, and with zeros.
	dirty(t, m, "vda", mib, mib, 3)
	dirty(t, m, "vda", 100*mib, mib, 4)
	dirty(t, m, "vda", 4*mib, mib, lab.Zero)
	o = against(t, m.Name())
	if c = o.find("compared"); o.code != 0 || c.EqualBytes != size-3*mib || c.ChangedBytes != 3*mib || c.DifferentBytes != 0 {
		t.Fatalf("exit code %d, %+v, %+v\n%s", o.code, c, o.find("error"), o.stderr)
	}

	last := head(t, m.Name())
	behindItsBack(t, m.Name(), last.Disks[0].Image, "write -P 77 9M 512", "write -P 78 200M 512", "write -P 79 1M 512")
	o = against(t, m.Name())
	failed(t, o, 1, "damaged", m.Name(), "")
	if c = o.find("compared"); c.DifferentBytes != 128*kib || c.FirstOffset != 9*mib {
		t.Errorf("%+v", c)
	}
	mf := manifest(t, m.Name())
	if damage := mf.Damage(mf.Head()); !strings.Contains(damage, "differs from the source") || mf.RunState != mf.States[0].Generation {
		t.Errorf("damage %q; the domain boots %d", damage, mf.RunState)
	}
	nothingLeft(t, m)
	if got := checkpoints(t, m); strings.Join(got, " ") != strings.Join(checkpoint, " ") {
		t.Errorf("checkpoints %q, there were %q", got, checkpoint)
	}
	sync(t, m.Name())
	sameAsSource(t, m, "vda")
	if o := against(t, m.Name()); o.code != 0 {
		t.Errorf("exit code %d\n%s", o.code, o.stderr)
	}

	virsh(t, "checkpoint-delete", m.Name(), head(t, m.Name()).Checkpoint)
	failed(t, against(t, m.Name()), 1, "no-checkpoint", m.Name(), "")
	nothingLeftBut(t, m)
}

// nothingLeftBut is nothingLeft where the checkpoint is gone.
func nothingLeftBut(t *testing.T, m *lab.Machine) {
	t.Helper()
	eventually(t, "nothing is left", func() bool { return len(litter(t, m)) == 0 })
}

// TestComparisonKilledHalfWay kills the program that compares, and the agent on the source.
func TestComparisonKilledHalfWay(t *testing.T) {
	m := machine(t, qcow2("vda", 512*mib))
	randomData(t, m, "vda", 0, 256*mib)
	sync(t, m.Name())
	for _, who := range []string{"vmsync verify", "vmsync agent"} {
		r := start(t, hostb, "verify", m.Name(), "--against-source", "--source-uri", uriA, "--json")
		eventually(t, "the source is read", func() bool {
			out, err := hosta.Run(t.Context(), "virsh", "domjobinfo", m.Name())
			return err == nil && strings.Contains(out, "Backup")
		})
		if who == "vmsync agent" {
			killAll(t, hosta, who)
		} else {
			killAll(t, hostb, who)
		}
		r.wait()
		nothingLeft(t, m)
	}
	if o := against(t, m.Name()); o.code != 0 {
		t.Fatalf("exit code %d\n%s", o.code, o.stderr)
	}
	nothingLeft(t, m)
	for _, h := range []*lab.Host{hosta, hostb} {
		if left := listFiles(t, h, "/var/tmp"); strings.Contains(strings.Join(left, " "), "/vmsync-") {
			t.Errorf("left on %s: %q", h.Name(), left)
		}
	}
}
