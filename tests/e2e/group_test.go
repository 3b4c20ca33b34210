package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	gosync "sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"vmsync/internal/api"
	past "vmsync/internal/history"
	"vmsync/tests/lab"
)

const (
	groupHead = "version: 1\nsources: {hosta: 'qemu+ssh://root@hosta/system', hostb: 'qemu:///system'}\nretry: {first: 1m, max: 5m}\n" +
		"defaults: {every: 1h, keep: 50, quiesce: required, group: shop, target_domain: '{domain}-replica'}\n"
	groupConfig = groupHead + "machines: [{name: 'group-*', source: hosta}, {name: group-c, source: hostb}]\n"
)

// member is a machine of the tests' group.
type member struct {
	*lab.Machine
	t *testing.T
}

func (m member) replica() string { return m.Name() + "-replica" }

// groupMember makes a live guest on a host.
func groupMember(t *testing.T, h *lab.Host, name string) member {
	t.Helper()
	m, err := h.CreateMachine(t.Context(), lab.MachineSpec{Name: name, Guest: true, Disks: []lab.DiskSpec{qcow2("vda", 64*mib)}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := cleanupContext()
		defer cancel()
		if err := m.Remove(ctx); err != nil {
			t.Error(err)
		}
		removeReplica(t, name+"-replica")
	})
	return member{m, t}
}

// groupLine is a state of `vmsync states --json`.
type groupLine struct {
	State       string  `json:"state"`
	Kind        string  `json:"kind"`
	Consistency string  `json:"consistency"`
	Frozen      float64 `json:"frozen_seconds"`
	Group       *struct {
		ID         string   `json:"id"`
		Name       string   `json:"name"`
		Members    []string `json:"members"`
		OneInstant bool     `json:"one_instant"`
		Complete   bool     `json:"complete"`
		Missing    []string `json:"missing"`
	} `json:"group"`
}

// states lists the states of a member's replica, by their sets.
func (m member) states() (bySet map[string]groupLine, newest groupLine) {
	m.t.Helper()
	bySet = map[string]groupLine{}
	for _, l := range objects[groupLine](m.t, admin(m.t, hostb, "states", m.replica(), "--json").ok(m.t)) {
		newest = l
		if l.Group != nil {
			bySet[l.Group.ID] = l
		}
	}
	return bySet, newest
}

// lastRun is how a member's last run went.
func (m member) lastRun() past.Run {
	m.t.Helper()
	all, _ := stands(m.t)
	if last := all[m.Name()].Last; last != nil {
		return *last
	}
	m.t.Fatalf("%s has no run", m.Name())
	return past.Run{}
}

// quiet waits until no member is synced.
func quiet(t *testing.T, members ...member) {
	t.Helper()
	for _, m := range members {
		awaits(t, "is done", m.Name(), func(s api.Machine) bool { return s.Doing != api.Syncing && s.Last != nil })
	}
}

// carryNumbers gives a number to one guest after the other, each when the one before has stored
// it, and begins again with the next number, until it is stopped. Of whatever instant
// states are, no guest's number is then greater than that of the one before it, and the
// first one's at most one greater than the last one's.
func carryNumbers(t *testing.T, members ...member) (rounds *atomic.Int64, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	rounds = &atomic.Int64{}
	var err error
	var wg gosync.WaitGroup
	wg.Go(func() {
		for ; err == nil; rounds.Add(1) {
			for _, m := range members {
				if ctx.Err() != nil {
					return
				}
				if _, err = m.Control(t.Context(), fmt.Sprintf("printf %%08d %d | dd of=/mnt/vda/n conv=notrunc,fsync 2>/dev/null", rounds.Load()+1)); err != nil {
					return
				}
			}
		}
	})
	stop = gosync.OnceFunc(func() {
		cancel()
		wg.Wait()
		if err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return rounds, stop
}

// TestGroupIsTakenAtOneInstant syncs guests of two sources as a group while messages go
// round between them, and looks for a state that has what another's lacks.
func TestGroupIsTakenAtOneInstant(t *testing.T) {
	a, b, c := groupMember(t, hosta, "group-a"), groupMember(t, hosta, "group-b"), groupMember(t, hostb, "group-c")
	members := []member{a, b, c}
	for _, m := range members {
		if _, err := m.Control(t.Context(), "printf %08d 0 > /mnt/vda/n && sync"); err != nil {
			t.Fatal(err)
		}
	}
	rounds, stop := carryNumbers(t, members...)
	startService(t, groupConfig)
	for _, m := range members {
		awaits(t, "is replicated", m.Name(), func(s api.Machine) bool { return well(s) && s.Group == "shop" })
	}
	for range 5 {
		before := rounds.Load()
		eventually(t, "messages went round", func() bool { return rounds.Load() > before+1 })
		// Any member takes the others along.
		o := start(t, hostb, "sync", b.Name(), "--json").wait()
		succeeded(t, o)
		if n := o.messages("notice"); !strings.Contains(n, "group-a, group-c") {
			t.Errorf("nobody says that the others are synced as well: %q", n)
		}
		quiet(t, members...)
	}
	stop()
	mounted(t)
	sets, _ := a.states()
	if len(sets) != 6 {
		t.Fatalf("%d sets", len(sets))
	}
	distinct := map[int]bool{}
	for id := range sets {
		var numbers []int
		for _, m := range members {
			bySet, _ := m.states()
			s := bySet[id]
			if s.Group == nil || !s.Group.Complete || !s.Group.OneInstant || s.Consistency != "filesystem" || s.Group.Name != "shop" ||
				strings.Join(s.Group.Members, " ") != "group-a-replica group-b-replica group-c-replica" {
				t.Fatalf("set %s of %s: %+v", id, m.Name(), s)
			}
			at := filepath.Join(mountPoint, m.replica(), "states", s.State)
			text, err := os.ReadFile(hostb.Path(filepath.Join(at, "files/vda/n")))
			if err != nil {
				t.Fatal(err)
			}
			n, err := strconv.Atoi(string(text))
			if err != nil {
				t.Fatal(err)
			}
			numbers = append(numbers, n)
			if tree, err := os.ReadFile(hostb.Path(filepath.Join(at, "state.json"))); err != nil || !strings.Contains(string(tree), id) {
				t.Errorf("state.json does not name the set: %v\n%s", err, tree)
			}
		}
		if numbers[0] < numbers[1] || numbers[1] < numbers[2] || numbers[2] < numbers[0]-1 {
			t.Errorf("set %s is not of one instant: %v", id, numbers)
		}
		t.Logf("set %s: %v", id, numbers)
		distinct[numbers[0]] = true
	}
	if len(distinct) < 5 {
		t.Errorf("the sets hold only %d different numbers", len(distinct))
	}
	admins(t, "states", a.replica()).ok(t, "of group shop")
	admins(t, "status").ok(t, "shop", "group-c")
	runs := map[string]int{}
	for _, m := range members {
		runs[m.lastRun().Group]++
		thawed(t, m.Machine)
	}
	if len(runs) != 1 || runs[""] > 0 {
		t.Errorf("the last runs are of sets %v", runs)
	}
	t.Run("equal to the checkpoints", func(t *testing.T) { equalToCheckpoints(t, members) })
	on(t, hostb, "systemctl", "stop", "vmsync")
	if left := strayProcesses(t); len(left) > 1 { // the mount's
		t.Errorf("left: %v", left)
	}
}

// equalToCheckpoints compares, on members at rest, the replica's disk with the machine's.
func equalToCheckpoints(t *testing.T, members []member) {
	for _, m := range members {
		if err := m.Pause(t.Context()); err != nil { // no agent answers then: the set is as after a power cut
			t.Fatal(err)
		}
	}
	configure(t, strings.Replace(groupConfig, "required", "preferred", 1))
	on(t, hostb, "systemctl", "reload", "vmsync")
	admins(t, "sync", members[0].Name()).ok(t, "not of one instant", "not frozen")
	quiet(t, members...)
	for _, m := range members {
		if _, s := m.states(); s.Group == nil || !s.Group.Complete || s.Group.OneInstant || s.Consistency != "crash" {
			t.Errorf("%s: %+v", m.Name(), s)
		}
		src, err := m.DiskPath(t.Context(), "vda")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.QemuIO(t.Context(), "vda", "flush"); err != nil {
			t.Fatal(err)
		}
		identical(t, "qcow2", m.Host().Path(src), topImage(t, m.replica(), "vda"))
	}
	admins(t, "states", members[0].replica()).ok(t, "not of one instant")
}

// TestGroupUnderFaults has a member that fails, is slow or is off, dead agents and a dead
// controller: nobody stays frozen, and a set that lacks a member says so.
func TestGroupUnderFaults(t *testing.T) {
	a, b, c := groupMember(t, hosta, "group-a"), groupMember(t, hosta, "group-b"), groupMember(t, hostb, "group-c")
	members := []member{a, b, c}
	startService(t, groupConfig)
	whole := func(t *testing.T) {
		t.Helper()
		admins(t, "sync", a.Name()).ok(t)
		quiet(t, members...)
		_, s := a.states()
		if s.Group == nil || !s.Group.Complete || !s.Group.OneInstant {
			t.Fatalf("not a whole set: %+v", s.Group)
		}
		for _, m := range members {
			if bySet, _ := m.states(); bySet[s.Group.ID].Consistency != "filesystem" {
				t.Errorf("%s: %+v", m.Name(), bySet[s.Group.ID])
			}
		}
	}
	for _, m := range members {
		awaits(t, "is replicated", m.Name(), well)
	}
	quiet(t, members...)
	whole(t)

	t.Run("one is off", func(t *testing.T) {
		if err := c.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		admins(t, "sync", a.Name()).ok(t, "is not complete", c.replica())
		quiet(t, members...)
		if last := c.lastRun(); last.Outcome != past.Failed || last.Error.Kind != "domain-off" || last.Group != a.lastRun().Group {
			t.Errorf("%+v", last)
		}
		if _, s := b.states(); s.Group.Complete || strings.Join(s.Group.Missing, " ") != c.replica() || !s.Group.OneInstant {
			t.Errorf("%+v", s.Group)
		}
		admins(t, "states", b.replica()).ok(t, "without "+c.replica())
		before := c.lastRun()
		if err := c.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := c.WaitAgent(t.Context()); err != nil {
			t.Fatal(err)
		}
		awaits(t, "is synced by itself", c.Name(), func(s api.Machine) bool { return well(s) && s.Last.ID != before.ID })
		if last := c.lastRun(); last.Group != "" {
			t.Errorf("%+v", last)
		}
		whole(t)
	})
	t.Run("one has no agent", func(t *testing.T) {
		if err := b.AgentStop(t.Context()); err != nil {
			t.Fatal(err)
		}
		admins(t, "sync", a.Name()).ok(t, "is not complete", b.replica())
		quiet(t, members...)
		if last := b.lastRun(); last.Outcome != past.Failed || last.Error.Kind != "not-frozen" {
			t.Errorf("%+v", last)
		}
		if frozen := a.lastRun().Frozen; frozen <= 0 || frozen > 4 {
			t.Errorf("the others were frozen for %.1f s", frozen)
		}
		if err := b.AgentCont(t.Context()); err != nil {
			t.Fatal(err)
		}
		thawed(t, b.Machine)
		whole(t)
	})
	t.Run("bitmaps are lost", func(t *testing.T) {
		if n, err := hosta.SignalAll("guest="+b.Name(), syscall.SIGKILL); err != nil || n == 0 {
			t.Fatalf("killed %d, %v", n, err)
		}
		eventually(t, "libvirt has noticed", func() bool {
			state, err := b.State(t.Context())
			return err == nil && strings.Contains(state, "shut off")
		})
		if err := b.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := b.WaitAgent(t.Context()); err != nil {
			t.Fatal(err)
		}
		whole(t)
		if _, s := b.states(); s.Kind != "resync" {
			t.Errorf("%+v", s)
		}
		if _, s := c.states(); s.Kind != "incremental" {
			t.Errorf("%+v", s)
		}
		if log := journal(t, "DOMAIN="+c.Name()); !strings.Contains(log, "begin again") {
			t.Errorf("the group did not begin again:\n%s", log)
		}
		whole(t)
	})
	t.Run("one is slow", func(t *testing.T) {
		withFault(t, hostb, "source-after-freeze=sleep:14s")
		on(t, hostb, "systemctl", "restart", "vmsync")
		awaits(t, "is known", a.Name(), func(api.Machine) bool { return true })
		admins(t, "sync", a.Name()).ok(t, "is not complete", c.replica())
		quiet(t, members...)
		if last := c.lastRun(); last.Outcome != past.Failed || last.Error.Kind != "left-behind" {
			t.Errorf("%+v", last)
		}
		for _, m := range []member{a, b} {
			if last := m.lastRun(); last.Outcome != past.Succeeded || last.Frozen < 5 || last.Frozen > 10 {
				t.Errorf("%+v", last)
			}
			if _, s := m.states(); s.Group.Complete || !s.Group.OneInstant || s.Consistency != "filesystem" {
				t.Errorf("%+v", s)
			}
		}
		thawed(t, c.Machine)
		withoutFault(t, hostb)
		whole(t)
	})
	t.Run("an agent is killed", func(t *testing.T) { groupAgentKilled(t, members) })
	t.Run("the controller is killed", func(t *testing.T) { groupControllerKilled(t, members) })
	whole(t)
	on(t, hostb, "systemctl", "stop", "vmsync")
	for _, m := range members {
		thawed(t, m.Machine)
	}
	if left := strayProcesses(t); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

const heldFrozen = "/run/vmsync-hold-group"

// frozenTogether begins a sync whose members on hosta stay in the freeze that they have just
// carried out.
func frozenTogether(t *testing.T, m member) *running {
	t.Helper()
	withFault(t, hosta, "source-after-freeze=wait:"+heldFrozen)
	t.Cleanup(func() {
		ctx, cancel := cleanupContext()
		defer cancel()
		if _, err := hosta.Run(ctx, "rm", "-f", heldFrozen, heldFrozen+".hit"); err != nil {
			t.Error(err)
		}
	})
	r := start(t, hostb, "sync", m.Name(), "--json")
	eventually(t, "a guest is frozen", func() bool { return exists(t, hosta, heldFrozen+".hit") })
	return r
}

func groupAgentKilled(t *testing.T, members []member) {
	a, b := members[0], members[1]
	before, _ := a.states()
	agents := func() []int {
		pids, err := hosta.Pids(t.Context(), "vmsync agent")
		if err != nil {
			t.Fatal(err)
		}
		return pids
	}
	watch := agents() // the watch of the source has one, too
	r := frozenTogether(t, a)
	runs := slices.DeleteFunc(agents(), func(pid int) bool { return slices.Contains(watch, pid) })
	if len(runs) != 2 {
		t.Fatalf("agents %v, besides %v", runs, watch)
	}
	if err := hosta.Kill(t.Context(), runs[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	on(t, hosta, "touch", heldFrozen)
	r.wait()
	quiet(t, members...)
	for _, m := range members {
		thawed(t, m.Machine)
	}
	var failed []string
	for _, m := range []member{a, b} {
		if last := m.lastRun(); last.Outcome == past.Failed {
			failed = append(failed, last.Error.Kind)
		}
	}
	if len(failed) != 1 || failed[0] != "agent-lost" {
		t.Errorf("failed: %v", failed)
	}
	if _, s := members[2].states(); s.Group == nil || s.Group.Complete || !s.Group.OneInstant || before[s.Group.ID].State != "" {
		t.Errorf("the other source's machine: %+v", s)
	}
	withoutFault(t, hosta)
}

func groupControllerKilled(t *testing.T, members []member) {
	r := frozenTogether(t, members[0])
	began := time.Now()
	if n, err := hostb.SignalAll("vmsync serve", syscall.SIGKILL); err != nil || n == 0 {
		t.Fatalf("killed %d processes, %v", n, err)
	}
	r.wait()
	// Agents on hosta are still held in the freeze: time does it, or the guards.
	for _, m := range members {
		thawed(t, m.Machine)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("the last guest was thawed after %v\n%s", took, on(t, hosta, "journalctl", "-n", "80", "-o", "short-precise", "--no-pager"))
	}
	withoutFault(t, hosta)
	on(t, hosta, "touch", heldFrozen)
	on(t, hostb, "systemctl", "restart", "vmsync")
	for _, m := range members {
		awaits(t, "is replicated after the kill", m.Name(), func(s api.Machine) bool { return well(s) && s.Fresh.After(began) })
	}
	quiet(t, members...)
}
