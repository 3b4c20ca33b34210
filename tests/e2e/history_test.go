package e2e

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"vmsync/internal/store"
	"vmsync/tests/lab"
)

// history keeps raw copies of a machine's disk by checkpoint.
type history map[string]string

// keepTruth remembers what the disk holds under the name of the newest state.
func (k history) keep(t *testing.T, replica, copied string) {
	t.Helper()
	k[head(t, replica).Checkpoint] = copied
}

// states checks that every listed state reads as it should.
func (k history) states(t *testing.T, replica, disk string) []store.State {
	t.Helper()
	m := manifest(t, replica)
	for i := range m.States {
		s := &m.States[i]
		want := k[s.Checkpoint]
		if want == "" {
			t.Fatalf("no truth of %s", s.Checkpoint)
		}
		identical(t, "raw", want, hostb.Path(storeDir+"/"+replica+"/"+s.Disk(disk).Image))
	}
	return m.States
}

func TestStatesAreKeptAsThePolicySays(t *testing.T) {
	m := machine(t, qcow2("vda", 128*mib))
	known := history{}
	for i := range 5 {
		dirty(t, m, "vda", int64(i)*8*mib, 12*mib, i+1)
		dirty(t, m, "vda", int64(i)*4*mib, mib, lab.Zero)
		known[""] = copyOf(t, m, "vda")
		sync(t, m.Name(), "--keep", "3")
		known.keep(t, m.Name(), known[""])
		if got, want := len(known.states(t, m.Name(), "vda")), min(i+1, 3); got != want {
			t.Errorf("%d states after sync %d, not %d", got, i+1, want)
		}
	}
	known[""] = copyOf(t, m, "vda")
	sync(t, m.Name()) // the policy stays: nothing changed, and one state goes
	known.keep(t, m.Name(), known[""])
	if got := len(known.states(t, m.Name(), "vda")); got != 3 {
		t.Errorf("%d states", got)
	}
	sync(t, m.Name(), "--keep", "0")
	known.keep(t, m.Name(), known[""])
	known.states(t, m.Name(), "vda")
	onlyPlainImages(t, m.Name())
	nothingLeft(t, m)
}

// TestLostBitmapSendsOnlyWhatDiffers loses the bitmaps of a disk of which a fraction
// has changed.
func TestLostBitmapSendsOnlyWhatDiffers(t *testing.T) {
	m := machine(t, qcow2("vda", 1024*mib))
	randomData(t, m, "vda", 0, 384*mib)
	known := history{}
	known[""] = copyOf(t, m, "vda")
	first := sync(t, m.Name(), "--keep", "5")
	known.keep(t, m.Name(), known[""])
	virsh(t, "checkpoint-delete", m.Name(), head(t, m.Name()).Checkpoint)
	for i := range 20 {
		dirty(t, m, "vda", int64(i)*17*mib+12345*512, 64<<10, i+1)
	}
	dirty(t, m, "vda", 100*mib, mib, lab.Zero)
	known[""] = copyOf(t, m, "vda")
	second := sync(t, m.Name())
	known.keep(t, m.Name(), known[""])
	if second.Kind != "resync" || second.SentBytes*50 > first.SentBytes {
		t.Errorf("a %s sent %d bytes; the full copy was %d", second.Kind, second.SentBytes, first.SentBytes)
	}
	if n := len(known.states(t, m.Name(), "vda")); n != 2 {
		t.Errorf("%d states", n)
	}
	dirty(t, m, "vda", 500*mib, mib, 9)
	known[""] = copyOf(t, m, "vda")
	if third := sync(t, m.Name()); third.Kind != "incremental" {
		t.Errorf("then a %s", third.Kind)
	}
	known.keep(t, m.Name(), known[""])
	known.states(t, m.Name(), "vda")
	nothingLeft(t, m)
}

// TestInterruptedSyncGoesOn interrupts a first sync and an incremental one in the midst
// of their transfers. What had arrived is not sent again.
func TestInterruptedSyncGoesOn(t *testing.T) {
	m := machine(t, qcow2("vda", 512*mib))
	randomData(t, m, "vda", 0, 96*mib)
	for _, kind := range []string{"full", "incremental"} {
		whole := int64(96 * mib)
		before := stored(t, m)
		r := midCopy(t, m)
		eventually(t, "most has arrived", func() bool { return stored(t, m) > before+80*mib })
		killIn(t, r, victim{hostb, "vmsync"})
		setLink(t, hosta, lab.Link{})
		dirty(t, m, "vda", 10*mib, mib, 0x77)
		dirty(t, m, "vda", 12*mib, mib, lab.Zero)
		again := sync(t, m.Name(), "--compress", "none")
		if again.Kind != kind || again.SentBytes > whole/2 {
			t.Errorf("%s: a %s sent %d bytes", kind, again.Kind, again.SentBytes)
		}
		sameAsSource(t, m, "vda")
		onlyPlainImages(t, m.Name())
		nothingLeft(t, m)
		randomData(t, m, "vda", 200*mib, 96*mib)
	}
}

// TestStatesReadRightWhileOlderOnesAreMerged slows merging down and reads the states that
// stay all the while: anew again and again, and through a server that had opened one of
// them before.
func TestStatesReadRightWhileOlderOnesAreMerged(t *testing.T) {
	const qemuImg = "/usr/bin/qemu-img"
	m := machine(t, qcow2("vda", 256*mib))
	known := history{}
	for i := range 4 {
		randomData(t, m, "vda", int64(i)*24*mib, 48*mib)
		dirty(t, m, "vda", int64(i)*16*mib, 4*mib, lab.Zero)
		known[""] = copyOf(t, m, "vda")
		sync(t, m.Name(), "--keep", "10")
		known.keep(t, m.Name(), known[""])
	}
	last := head(t, m.Name())
	opened := storeDir + "/" + m.Name() + "/" + last.Disk("vda").Image
	if _, err := hostb.Run(t.Context(), "qemu-nbd", "--fork", "--pid-file=/run/opened.pid", "--persistent", "--read-only", "--socket=/run/opened.sock", "--image-opts",
		"driver=qcow2,force-share=on,file.driver=file,file.filename="+opened); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := cleanupContext()
		defer cancel()
		if _, err := hostb.Run(ctx, "pkill", "--pidfile", "/run/opened.pid"); err != nil {
			t.Error(err)
		}
	})
	// Its first read is of what it will read again.
	readOpened := func() {
		if out, err := hostb.Run(t.Context(), "qemu-img", "convert", "-O", "raw", "nbd+unix:///?socket=/run/opened.sock", "/var/tmp/opened.raw"); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if !same(t, "raw", known[last.Checkpoint], rawAsQcow2(t, "/var/tmp/opened.raw")) {
			t.Error("what was opened before the merge reads otherwise")
		}
	}
	readOpened()

	hide(t, hostb, qemuImg)
	script := "#!/bin/sh\n[ \"$1\" = commit ] || exec " + qemuImg + ".hidden \"$@\"\nshift; exec " + qemuImg + ".hidden commit -r 16777216 \"$@\"\n"
	if err := hostb.WriteFile(qemuImg, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	dirty(t, m, "vda", 200*mib, mib, 0x55)
	known[""] = copyOf(t, m, "vda")
	r := start(t, hostb, fromTarget(m.Name(), "--keep", "2")...)
	reads := 0
	for !zombie(r.cmd.Process.Pid) {
		now := manifest(t, m.Name())
		for i := range now.States {
			s := &now.States[i]
			want := known[s.Checkpoint]
			if want == "" {
				want = known[""] // the one that this run brings
			}
			image := hostb.Path(storeDir + "/" + m.Name() + "/" + s.Disk("vda").Image)
			if out, ok := compare(t, "raw", want, image); !ok {
				t.Errorf("state %d reads otherwise while step %+v is under way: %s", s.Generation, now.Step, out)
			}
			if now.Step != nil {
				reads++
			}
		}
	}
	succeeded(t, r.wait())
	known.keep(t, m.Name(), known[""])
	if reads == 0 {
		t.Error("nothing was read while images were merged: this test proves nothing")
	}
	readOpened()
	if n := len(known.states(t, m.Name(), "vda")); n != 2 {
		t.Errorf("%d states", n)
	}
}

// rawAsQcow2 lets a raw file of hostb be compared as everything else is.
func rawAsQcow2(t *testing.T, raw string) string {
	t.Helper()
	if out, err := hostb.Run(t.Context(), "qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, raw+".qcow2"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return hostb.Path(raw + ".qcow2")
}

// TestTwoStoresOfOneMachine keeps two replicas of one machine, each with its own cadence
// and policy. Neither hears of the other.
func TestTwoStoresOfOneMachine(t *testing.T) {
	m := machine(t, qcow2("vda", 128*mib))
	other := m.Name() + "-2"
	t.Cleanup(func() { removeReplica(t, other) })
	known := history{}
	for round := range 20 {
		dirty(t, m, "vda", int64(round)*5*mib, 2*mib, round+1)
		dirty(t, m, "vda", int64(round)*3*mib, mib, lab.Zero)
		known[""] = copyOf(t, m, "vda")
		replicas := map[string]string{m.Name(): "3"}
		if round%3 == 1 {
			replicas = map[string]string{m.Name(): "3", other: "last=2,hourly=1"}
		}
		for replica, keep := range replicas {
			s := sync(t, m.Name(), "--target-domain", replica, "--keep", keep)
			if first := map[bool]int{true: 1, false: 0}[replica == other]; (s.Kind != "incremental") != (round == first) {
				t.Errorf("round %d: %s got a %s", round, replica, s.Kind)
			}
			known.keep(t, replica, known[""])
			known.states(t, replica, "vda")
		}
	}
	if a, b := len(manifest(t, m.Name()).States), len(manifest(t, other).States); a != 3 || b != 2 {
		t.Errorf("%d and %d states", a, b)
	}
	if got := checkpoints(t, m); len(got) != 2 {
		t.Errorf("checkpoints %v", got)
	}
}

// TestDisksThatChangeBetweenStates grows a disk, plugs one, shrinks one, renames one and
// takes one away, a state after each. Every state has the disks of its instant, in their
// sizes, also when those between have been merged away.
func TestDisksThatChangeBetweenStates(t *testing.T) {
	m := machine(t, qcow2("vda", 96*mib))
	type held map[string]string // disk: copy
	truth := map[string]held{}  // by checkpoint
	size := map[string]int64{}  // of a copy
	state := func(what string, disks ...string) {
		t.Helper()
		now := held{}
		for _, d := range disks {
			now[d] = copyOf(t, m, d)
			st, err := os.Stat(now[d])
			if err != nil {
				t.Fatal(err)
			}
			size[now[d]] = st.Size()
		}
		s := sync(t, m.Name(), "--keep", "20")
		truth[head(t, m.Name()).Checkpoint] = now
		t.Logf("%s: %s, %d bytes sent", what, s.Kind, s.SentBytes)
	}
	check := func() {
		t.Helper()
		mf := manifest(t, m.Name())
		for i := range mf.States {
			s := &mf.States[i]
			want := truth[s.Checkpoint]
			if len(s.Disks) != len(want) {
				t.Errorf("%s has %d disks, not %d", s.ID, len(s.Disks), len(want))
			}
			for _, d := range s.Disks {
				if d.Size != size[want[d.Name]] {
					t.Errorf("%s: disk %s has %d bytes, not %d", s.ID, d.Name, d.Size, size[want[d.Name]])
				}
				identical(t, "raw", want[d.Name], hostb.Path(storeDir+"/"+m.Name()+"/"+d.Image))
			}
		}
	}
	randomData(t, m, "vda", 0, 90*mib)
	state("first", "vda")

	virsh(t, "blockresize", m.Name(), "vda", num(112*mib+4096)+"B")
	dirty(t, m, "vda", 90*mib, 20*mib, 0x21)
	state("grown", "vda")

	if err := m.AttachDisk(t.Context(), qcow2("vdb", 64*mib)); err != nil {
		t.Fatal(err)
	}
	randomData(t, m, "vdb", 0, 40*mib)
	state("plugged", "vda", "vdb")

	// A smaller copy in the place of the image, with what fits into it.
	path, err := m.DiskPath(t.Context(), "vda")
	if err != nil {
		t.Fatal(err)
	}
	destroy(t, m)
	image := hosta.Path(path)
	for _, argv := range [][]string{
		{"qemu-img", "convert", "-O", "qcow2", image, image + ".small"},
		{"qemu-img", "resize", "--shrink", image + ".small", num(80*mib + 512)},
		{"mv", image + ".small", image},
	} {
		if out, err := exec.CommandContext(t.Context(), argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	startPaused(t, m)
	dirty(t, m, "vda", 79*mib, mib+512, 0x22)
	state("shrunk", "vda", "vdb")

	destroy(t, m)
	xml := inactiveXML(t, m)
	virsh(t, "undefine", m.Name(), "--checkpoints-metadata")
	define(t, strings.ReplaceAll(xml, "dev='vdb'", "dev='vdc'"))
	startPaused(t, m)
	dirty(t, m, "vdc", mib, mib, 0x23)
	state("renamed", "vda", "vdc")

	destroy(t, m)
	virsh(t, "detach-disk", m.Name(), "vdc", "--config")
	startPaused(t, m)
	dirty(t, m, "vda", 0, mib, 0x24)
	state("taken away", "vda")
	check()

	for len(manifest(t, m.Name()).States) > 1 {
		states := manifest(t, m.Name()).States
		if out, err := hostb.Run(t.Context(), "vmsync", "states", "delete", m.Name()+"@"+states[(len(states)-1)/2].ID); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		check()
	}
	onlyPlainImages(t, m.Name())
	nothingLeft(t, m)
}
