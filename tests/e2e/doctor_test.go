package e2e

import (
	"strings"
	"syscall"
	"testing"

	"vmsync/tests/lab"
)

func TestDoctorExplains(t *testing.T) {
	m := busyMachine(t)
	name := m.Name()
	doctor := func(on *lab.Host, code int, args ...string) string {
		t.Helper()
		return admin(t, on, append([]string{"doctor", name}, args...)...).exits(t, code).all()
	}
	says := func(text string, words ...string) {
		t.Helper()
		for _, w := range words {
			if !strings.Contains(text, w) {
				t.Errorf("%q is not said in\n%s", w, text)
			}
		}
	}
	fromB := []string{"--source-uri", uriA}
	says(doctor(hostb, 0, fromB...), "there is no replica in "+storeDir+"/"+name, "sent in full: first sync")
	if exists(t, hostb, storeDir+"/"+name) {
		t.Error("the look made a folder")
	}
	sync(t, name)
	text := doctor(op_, 0, "--source-uri", uriA, "--target-uri", uriB)
	says(text, "the domain is paused", "1 state in", "can be replicated", "knows what changed on vda, vdb", "incremental: it sends what changed since "+head(t, name).Checkpoint)
	if strings.Contains(text, "note:") {
		t.Errorf("something to note:\n%s", text)
	}
	says(doctor(hostb, 0), "the domain of this name there is the replica itself", "which was on hosta", "1 state in")
	says(doctor(hostb, 1, "--source-uri", "qemu+ssh://root@nohost/system"), "WRONG: the source could not be looked at", "nohost", "1 state in", "nobody can tell without seeing the source")

	// What a run leaves whose every process is killed.
	randomData(t, m, "vda", 64*mib, 24*mib)
	r := midCopy(t, m)
	says(doctor(hostb, 0, fromB...), "another run holds the lock", "a run is at work", "it waits some seconds")
	// None is to notice that another is gone, and clean up.
	agents := []struct {
		host *lab.Host
		name string
	}{{hostb, "vmsync agent"}, {hosta, "vmsync guard"}, {hosta, "vmsync agent"}}
	for _, a := range agents {
		signal(t, a.host, a.name, syscall.SIGSTOP)
	}
	signal(t, hostb, "vmsync sync", syscall.SIGKILL)
	for _, a := range agents {
		signal(t, a.host, a.name, syscall.SIGKILL)
	}
	if o := r.wait(); o.code == 0 {
		t.Fatal("the sync succeeded without its agents")
	}
	setLink(t, hosta, lab.Link{})
	eventually(t, "its children have ended", func() bool { return len(strayProcesses(t)) == 0 })
	left := func() string {
		all := litter(t, m)
		for i := range all {
			all[i], _, _ = strings.Cut(all[i], "\n") // how long a job has lasted
		}
		return strings.Join(all, "; ")
	}
	before := left()
	for range 2 {
		says(doctor(hostb, 0, fromB...), "left behind: the backup job of a dead sync", "left behind: the scratch file", "left behind: the folder /run/vmsync/target/",
			"has received a part of vda, vdb", "incremental: it sends")
	}
	if after := left(); before == "" || after != before {
		t.Errorf("the look changed what was left from %q to %q", before, after)
	}
	fixed := doctor(hostb, 0, append(fromB, "--fix")...)
	says(fixed, "fixed on the source: ended the backup job of a dead sync", "incremental: it sends")
	if strings.Contains(fixed, "left behind") {
		t.Errorf("still there:\n%s", fixed)
	}
	if after := left(); after != "" {
		t.Errorf("left behind: %s", after)
	}

	// A lost bitmap.
	virsh(t, "checkpoint-delete", name, head(t, name).Checkpoint)
	says(doctor(hostb, 0, append(fromB, "--json")...), `"about":"source","level":"note","text":"libvirt does not know checkpoint `+head(t, name).Checkpoint, `"about":"next","level":"note"`)
	if s := sync(t, name); s.Kind != "resync" {
		t.Errorf("%+v", s)
	}

	// A replica that was started, and one that is paused.
	replica := hostb.Machine(name)
	if err := replica.StartPaused(t.Context()); err != nil {
		t.Fatal(err)
	}
	says(doctor(hostb, 1, fromB...), "the replica is in use on the target: it is paused", "virsh destroy "+name, "WRONG: it refuses")
	dirty(t, replica, "vda", 0, mib, 0xee)
	if err := replica.Destroy(t.Context()); err != nil {
		t.Fatal(err)
	}
	says(doctor(hostb, 1, append(fromB, "--fix")...), "the replica was started since the last sync", "vmsync discard-run "+name)
	admins(t, "discard-run", name).ok(t)
	admins(t, "pause", name).ok(t)
	says(doctor(hostb, 1, fromB...), "the replica is paused", "vmsync resume "+name)
	admins(t, "resume", name).ok(t)
	doctor(hostb, 0, fromB...)
	destroy(t, m)
	says(doctor(hostb, 1, fromB...), "WRONG: the domain is shut off", "virsh start "+name)
}
