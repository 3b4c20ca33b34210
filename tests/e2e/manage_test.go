package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"vmsync/internal/store"
	"vmsync/tests/lab"
)

// said is what a command of an administrator did.
type said struct {
	code           int
	stdout, stderr string
}

func (s said) all() string { return s.stdout + s.stderr }

// admin runs a command of vmsync on a host.
func admin(t *testing.T, h *lab.Host, args ...string) said {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := h.Command(t.Context(), append([]string{binDir + "vmsync"}, args...)...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return said{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// admins is admin on the store's own host.
func admins(t *testing.T, args ...string) said {
	t.Helper()
	return admin(t, hostb, args...)
}

// ok checks that a command succeeded and said all of these.
func (s said) ok(t *testing.T, words ...string) said {
	t.Helper()
	return s.exits(t, 0, words...)
}

func (s said) exits(t *testing.T, code int, words ...string) said {
	t.Helper()
	if s.code != code {
		t.Fatalf("exit code %d, want %d\n%s", s.code, code, s.all())
	}
	for _, w := range words {
		if !strings.Contains(s.all(), w) {
			t.Errorf("%q is not said in\n%s", w, s.all())
		}
	}
	return s
}

// objects reads JSON lines.
func objects[T any](t *testing.T, s said) []T {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(s.stdout))
	var all []T
	for dec.More() {
		var v T
		if err := dec.Decode(&v); err != nil {
			t.Fatalf("%v in\n%s", err, s.all())
		}
		all = append(all, v)
	}
	return all
}

type stateLine struct {
	State, Checkpoint, Kind, Damaged string
	Own                              int64 `json:"own_bytes"`
	Size                             int64 `json:"size_bytes"`
	Head                             bool
	Pinned                           []store.Holder
}

// statesOf lists a replica.
func statesOf(t *testing.T, on *lab.Host, args ...string) []stateLine {
	t.Helper()
	return objects[stateLine](t, admin(t, on, append([]string{"states", "--json"}, args...)...).ok(t))
}

// grown makes a replica with states, and remembers what each reads as.
func grown(t *testing.T, m *lab.Machine, states int) history {
	t.Helper()
	known := history{}
	for i := range states {
		dirty(t, m, "vda", int64(i)*2*mib, 6*mib, i+1)
		dirty(t, m, "vda", int64(i)*mib, mib, lab.Zero)
		truth := copyOf(t, m, "vda")
		sync(t, m.Name(), "--keep", "20")
		known.keep(t, m.Name(), truth)
	}
	return known
}

func TestStatesAreListedDeletedAndPruned(t *testing.T) {
	m := machine(t, qcow2("vda", 128*mib))
	known := grown(t, m, 5)
	name := m.Name()
	list := statesOf(t, op_, name, "--target-uri", uriB)
	if len(list) != 5 || !list[4].Head || list[0].Head || list[0].Kind != "full" || list[4].Kind != "incremental" || list[0].Own < 5*mib || list[4].Size != 128*mib {
		t.Errorf("%+v", list)
	}
	admins(t, "states", name).ok(t, "checkpoint", list[0].State, list[4].Checkpoint, "128.0 MiB")
	admins(t, "states").ok(t, name, "replica", "hosta", " 20 ")
	var ids []string
	for _, s := range list {
		ids = append(ids, s.State)
	}

	// From elsewhere, without libvirt on the store's host.
	sockets := []string{"libvirtd.socket", "libvirtd-ro.socket", "libvirtd-admin.socket"}
	if _, err := hostb.Run(t.Context(), append([]string{"systemctl", "stop", "libvirtd"}, sockets...)...); err != nil {
		t.Fatal(err)
	}
	admin(t, op_, "states", "delete", name+"@"+ids[2], "--target-uri", uriB).ok(t, "deleted "+ids[2], "freed")
	if _, err := hostb.Run(t.Context(), append([]string{"systemctl", "start", "libvirtd"}, sockets...)...); err != nil {
		t.Fatal(err)
	}
	if n := len(known.states(t, name, "vda")); n != 4 {
		t.Errorf("%d states", n)
	}
	noDebris(t, name)

	// What cannot go, and then nothing else goes.
	for _, on := range [][]string{{}, {"--target-uri", uriB}} {
		admin(t, hostb, append([]string{"states", "delete", name + "@" + ids[0], name + "@latest"}, on...)...).exits(t, 2, "newest state", "next sync")
	}
	admin(t, op_, "states", "delete", name+"@"+ids[2], "--target-uri", uriB).exits(t, 1, "no such state", ids[4])
	admins(t, "states", "delete", "nobody@"+ids[0]).exits(t, 1, "no replica of this name")
	admins(t, "states", "delete", name).exits(t, 2, "which state?")
	pin, err := store.PinState(t.Context(), hostb.Path(storeDir), name, ids[1], "mount /mnt/old")
	if err != nil {
		t.Fatal(err)
	}
	defer pin.Release()
	admins(t, "states", "delete", name+"@"+ids[0], name+"@"+ids[1]).exits(t, 1, ids[1], "in use by mount /mnt/old")
	admins(t, "states", name).ok(t, "in use by mount /mnt/old")
	if got := len(statesOf(t, hostb, name)); got != 4 {
		t.Errorf("%d states", got)
	}

	for _, before := range []string{"nothing is done by a dry run", "here neither"} {
		admins(t, "prune", name, "--keep", "2", "--dry-run").ok(t, "would go: "+ids[0], "would stay for now: state "+ids[1], "mount /mnt/old")
		if got := len(statesOf(t, hostb, name)); got != 4 {
			t.Errorf("%s: %d states", before, got)
		}
	}
	admins(t, "prune", name).ok(t, "nothing to delete") // by the replica's own policy
	admin(t, op_, "prune", name, "--keep", "2", "--target-uri", uriB).ok(t, "deleted "+ids[0], "kept for now", "mount /mnt/old")
	known.states(t, name, "vda")
	pin.Release()
	admins(t, "prune", name, "--keep", "last=1,hourly=1", "--json").ok(t, `"gone":["`+ids[1]+`","`+ids[3]+`"]`)
	if left := known.states(t, name, "vda"); len(left) != 1 || manifest(t, name).Keep != "20" {
		t.Errorf("%+v", left)
	}
	onlyPlainImages(t, name)

	dirty(t, m, "vda", 0, mib, 99)
	truth := copyOf(t, m, "vda")
	if s := sync(t, name); s.Kind != "incremental" {
		t.Errorf("then a %s", s.Kind)
	}
	known.keep(t, name, truth)
	known.states(t, name, "vda")
	nothingLeft(t, m)
}

// noDebris checks that a replica's folder holds no image that its manifest does not list.
func noDebris(t *testing.T, replica string) {
	t.Helper()
	var want []string
	for _, img := range manifest(t, replica).Images {
		want = append(want, strings.TrimPrefix(img.Name, "disks/"))
	}
	slices.Sort(want)
	if got := listDir(t, hostb, storeDir+"/"+replica+"/disks"); !slices.Equal(got, want) {
		t.Errorf("images %v, want %v", got, want)
	}
}

// TestWhatAStartedReplicaWroteIsDiscarded starts a replica, deletes a state under it, and
// gives up what it wrote.
func TestWhatAStartedReplicaWroteIsDiscarded(t *testing.T) {
	m := machine(t, qcow2("vda", 128*mib))
	known := grown(t, m, 3)
	name := m.Name()
	admins(t, "discard-run", name).ok(t, "nothing to discard")
	replica := hostb.Machine(name)
	for _, saved := range []bool{false, true} {
		if err := replica.StartPaused(t.Context()); err != nil {
			t.Fatal(err)
		}
		dirty(t, replica, "vda", 0, 8*mib, 0xee)
		running, err := replica.DiskPath(t.Context(), "vda")
		if err != nil {
			t.Fatal(err)
		}
		admins(t, "discard-run", name, "--json").exits(t, 1, "replica-active", "virsh destroy "+name)
		if !saved {
			admins(t, "states", "delete", name+"@"+manifest(t, name).States[1].ID).ok(t, "in use", "could not be merged yet")
			known.states(t, name, "vda")
		}
		if !exists(t, hostb, running) {
			t.Fatal("what the replica runs on is gone")
		}
		end := "destroy"
		if saved {
			end = "managedsave"
		}
		if _, err := hostb.Run(t.Context(), "virsh", end, name); err != nil {
			t.Fatal(err)
		}
		e := failed(t, trySync(t, name), 1, "replica-used", name, "vda")
		if !strings.Contains(e.Hint, "vmsync discard-run "+name) {
			t.Errorf("%+v", e)
		}
		admin(t, op_, "discard-run", name, "--target-uri", uriB).ok(t, "discarded", "vda: 8.")
		admins(t, "discard-run", name).ok(t, "nothing to discard")
		if exists(t, hostb, running) {
			t.Error("what the replica wrote is still there")
		}
		out, err := hostb.Run(t.Context(), "virsh", "dominfo", name)
		if err != nil || !strings.Contains(out, "shut off") || !strings.Contains(out, "Managed save:   no") {
			t.Errorf("%v\n%s", err, out)
		}
		// What is booted now is the newest state.
		if err := replica.StartPaused(t.Context()); err != nil {
			t.Fatal(err)
		}
		now, err := replica.DiskPath(t.Context(), "vda")
		if err != nil {
			t.Fatal(err)
		}
		identical(t, "raw", known[head(t, name).Checkpoint], hostb.Path(now))
		if err := replica.Destroy(t.Context()); err != nil {
			t.Fatal(err)
		}
		admins(t, "discard-run", name).ok(t)
		dirty(t, m, "vda", 64*mib, mib, 7)
		truth := copyOf(t, m, "vda")
		sync(t, name)
		known.keep(t, name, truth)
		known.states(t, name, "vda")
		noDebris(t, name)
		nothingLeft(t, m)
	}
}

func TestPausedReplicaIsLeftAlone(t *testing.T) {
	m := machine(t, qcow2("vda", 64*mib))
	name := m.Name()
	dirty(t, m, "vda", 0, mib, 1)
	sync(t, name)
	mark := func() string {
		out, err := hostb.Run(t.Context(), "virsh", "metadata", name, "https://vmsync/xmlns/replica/1.0")
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	admin(t, op_, "pause", name, "--target-uri", uriB).ok(t, "paused")
	if got := mark(); !strings.Contains(got, `role="paused"`) {
		t.Error(got)
	}
	admins(t, "pause", name).ok(t, "paused already")
	admins(t, "states").ok(t, "paused")
	was := head(t, name).ID
	e := failed(t, trySync(t, name), 1, "role", name, "")
	if !strings.Contains(e.Message, "paused") || !strings.Contains(e.Hint, "vmsync resume "+name) || head(t, name).ID != was {
		t.Errorf("%+v", e)
	}
	admins(t, "resume", name).ok(t, "follows its source again")
	if got := mark(); !strings.Contains(got, `role="replica"`) {
		t.Error(got)
	}
	dirty(t, m, "vda", 0, mib, 2)
	if s := sync(t, name); s.Kind != "incremental" {
		t.Errorf("%+v", s)
	}
	sameAsSource(t, m, "vda")

	// One that took over is not made a replica again.
	mf, err := hostb.ReadFile(storeDir + "/" + name + "/manifest.json")
	if err != nil {
		t.Fatal(err)
	}
	active := strings.Replace(string(mf), `"role": "replica"`, `"role": "active"`, 1)
	if err := hostb.WriteFile(storeDir+"/"+name+"/manifest.json", []byte(active), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"resume", "pause", "discard-run"} {
		admins(t, command, name).exits(t, 1, "active", "took over from its source")
	}
	admins(t, "pause", "nobody").exits(t, 1, "no replica of this name")
	if exists(t, hostb, storeDir+"/nobody") {
		t.Error("a folder was made")
	}
}
