package e2e

import (
	"strings"
	"testing"

	"vmsync/tests/lab"
)

const (
	storeAway  = "/var/lib/vmsync-away"
	storeOther = "/var/lib/vmsync-other"
)

// awayStore has machine m replicated to a store that can be hidden and moved.
func awayStore(t *testing.T) *lab.Machine {
	t.Helper()
	m := machine(t, qcow2("vda", 64*mib))
	t.Cleanup(func() {
		ctx, cancel := cleanupContext()
		defer cancel()
		if err := hostb.Machine(m.Name()).Remove(ctx); err != nil {
			t.Error(err)
		}
		if _, err := hostb.Run(ctx, "sh", "-c", "umount "+storeAway+" 2>/dev/null; rm -rf "+storeAway+" "+storeOther); err != nil {
			t.Error(err)
		}
	})
	dirty(t, m, "vda", 0, mib, 1)
	sync(t, m.Name(), "--store", storeAway)
	dirty(t, m, "vda", 8*mib, mib, 2)
	return m
}

// bootsFrom checks where the replica's domain has its disk.
func bootsFrom(t *testing.T, m *lab.Machine, store string) {
	t.Helper()
	if out := on(t, hostb, "virsh", "domblklist", m.Name()); !strings.Contains(out, " "+store+"/"+m.Name()+"/run/vda.") {
		t.Errorf("the domain's disk is not in %s:\n%s", store, out)
	}
}

// startsAndEnds starts the replica and ends it again.
func startsAndEnds(t *testing.T, m *lab.Machine) {
	t.Helper()
	replica := hostb.Machine(m.Name())
	if err := replica.StartPaused(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := replica.Destroy(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// goesOnAway checks that the next sync to the away store goes on where the replica was.
func goesOnAway(t *testing.T, m *lab.Machine) {
	t.Helper()
	if s := sync(t, m.Name(), "--store", storeAway); s.Kind != "incremental" {
		t.Errorf("%+v", s)
	}
	if left := litter(t, m); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestStoreThatIsNotMountedGetsNoFirstCopy has a store disappear as when its file system is not
// mounted: the folder is there, and empty.
func TestStoreThatIsNotMountedGetsNoFirstCopy(t *testing.T) {
	m := awayStore(t)
	was := checkpoints(t, m)
	on(t, hostb, "mount", "-t", "tmpfs", "none", storeAway)
	e := failed(t, trySync(t, m.Name(), "--store", storeAway), 1, "other-machine", m.Name(), "")
	if !strings.Contains(e.Message, storeAway+"/"+m.Name()+" that is not there") || !strings.Contains(e.Hint, "mount the file system") {
		t.Errorf("%+v", e)
	}
	if out := on(t, hostb, "ls", "-A", storeAway); out != "" {
		t.Errorf("below the mount point: %s", out)
	}
	admins(t, "doctor", m.Name(), "--source-uri", uriA, "--store", storeAway).exits(t, 1, "it refuses", "that is not there", "mount the file system")
	on(t, hostb, "umount", storeAway)
	if now := checkpoints(t, m); strings.Join(now, " ") != strings.Join(was, " ") {
		t.Errorf("checkpoints %v, were %v", now, was)
	}
	goesOnAway(t, m)

	// The replica is lost: what is advised for that helps.
	on(t, hostb, "mount", "-t", "tmpfs", "none", storeAway)
	on(t, hostb, "virsh", "undefine", m.Name(), "--nvram")
	if s := sync(t, m.Name(), "--store", storeAway); s.Kind != "full" {
		t.Errorf("%+v", s)
	}
	bootsFrom(t, m, storeAway)
}

func TestMovedReplicaBootsFromWhereItIs(t *testing.T) {
	m := awayStore(t)
	bootsFrom(t, m, storeAway)

	// Another store is not where this replica is, and a copy of it is none that follows the source.
	e := failed(t, trySync(t, m.Name(), "--store", storeOther), 1, "other-machine", m.Name(), "")
	if !strings.Contains(e.Message, "boots a replica in "+storeAway+"/"+m.Name()) || !strings.Contains(e.Hint, "--target-domain") {
		t.Errorf("%+v", e)
	}
	on(t, hostb, "cp", "-a", storeAway+"/.", storeOther)
	e = failed(t, trySync(t, m.Name(), "--store", storeOther), 1, "other-machine", m.Name(), "")
	if !strings.Contains(e.Message, storeOther+"/"+m.Name()+" is a copy of it") || !strings.Contains(e.Hint, "move "+storeAway+"/"+m.Name()+" away") {
		t.Errorf("%+v", e)
	}
	bootsFrom(t, m, storeAway)
	if s := sync(t, m.Name(), "--store", storeAway); s.Kind != "incremental" {
		t.Errorf("%+v", s)
	}
	on(t, hostb, "sh", "-c", "rm -r "+storeOther+" && ln -s "+storeAway+" "+storeOther)
	for _, path := range []string{storeOther, storeAway} {
		if s := sync(t, m.Name(), "--store", path); s.Kind != "incremental" {
			t.Errorf("by another path: %+v", s)
		}
		bootsFrom(t, m, path)
	}

	on(t, hostb, "sh", "-c", "rm "+storeOther+" && mv "+storeAway+" "+storeOther)
	admins(t, "doctor", m.Name(), "--source-uri", uriA, "--store", storeOther).exits(t, 0, "does not boot the state that it should")
	// Nothing has changed, and no state is made.
	if o := trySync(t, m.Name(), "--store", storeOther, "--min-changed", "1M"); o.code != 0 {
		t.Errorf("%+v", o)
	}
	bootsFrom(t, m, storeOther)
	startsAndEnds(t, m)
	if left := litter(t, m); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestReadOnlyStoreIsNamedAndKept has the store's file system refuse writes, as the kernel has it do
// after an error of its disk.
func TestReadOnlyStoreIsNamedAndKept(t *testing.T) {
	m := machine(t, qcow2("vda", 64*mib))
	smallStore(t, m, storeAway, 100*mib)
	dirty(t, m, "vda", 0, mib, 1)
	sync(t, m.Name(), "--store", storeAway)
	was := listDir(t, hostb, storeAway+"/"+m.Name()+"/disks")
	dirty(t, m, "vda", 8*mib, mib, 2)
	on(t, hostb, "mount", "-o", "remount,ro", storeAway)
	e := failed(t, trySync(t, m.Name(), "--store", storeAway), 1, "store", m.Name(), "")
	if !strings.Contains(e.Message, "read-only file system") {
		t.Errorf("%+v", e)
	}
	t.Logf("%s; %s", e.Message, e.Hint)
	admins(t, "doctor", m.Name(), "--source-uri", uriA, "--store", storeAway).exits(t, 1, "it refuses", "read-only")
	admins(t, "states", m.Name(), "--store", storeAway).ok(t, "full")
	if got := listDir(t, hostb, storeAway+"/"+m.Name()+"/disks"); strings.Join(got, " ") != strings.Join(was, " ") {
		t.Errorf("images %v, were %v", got, was)
	}
	on(t, hostb, "mount", "-o", "remount,rw", storeAway)
	goesOnAway(t, m)
}

// TestLostDomainIsDefinedAgain has a target forget the replica's domain, as one whose system
// was installed anew, while the source has nothing new.
func TestLostDomainIsDefinedAgain(t *testing.T) {
	m := awayStore(t)
	sync(t, m.Name(), "--store", storeAway)
	states := len(listDir(t, hostb, storeAway+"/"+m.Name()+"/xml"))
	on(t, hostb, "virsh", "undefine", m.Name())
	admins(t, "doctor", m.Name(), "--source-uri", uriA, "--store", storeAway).exits(t, 0, "the replica's domain, which is not there")
	if o := trySync(t, m.Name(), "--store", storeAway, "--min-changed", "1M"); o.code != 0 {
		t.Errorf("%+v", o)
	}
	if now := len(listDir(t, hostb, storeAway+"/"+m.Name()+"/xml")); now != states {
		t.Errorf("%d states, were %d", now, states)
	}
	bootsFrom(t, m, storeAway)
	on(t, hostb, "virsh", "undefine", m.Name())
	admins(t, "discard-run", m.Name(), "--store", storeAway).ok(t) // for who has no source any more
	bootsFrom(t, m, storeAway)
	startsAndEnds(t, m)
}
