package e2e

import (
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"vmsync/replicator"
	"vmsync/tests/lab"
)

// What happens to checkpoints, bitmaps and images behind vmsync's back. In each case
// the next sync must succeed as it is, and the replica be what the machine is.

// virsh runs a virsh command on hosta that must succeed.
func virsh(t *testing.T, args ...string) string {
	t.Helper()
	out, err := hosta.Run(t.Context(), append([]string{"virsh", "-q"}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// destroy ends a machine's qemu in an orderly way.
func destroy(t *testing.T, m *lab.Machine) {
	t.Helper()
	if err := m.Destroy(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func startPaused(t *testing.T, m *lab.Machine) {
	t.Helper()
	if err := m.StartPaused(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// inactiveXML is the definition of a machine's next start.
func inactiveXML(t *testing.T, m *lab.Machine) string {
	t.Helper()
	return virsh(t, "dumpxml", m.Name(), "--inactive", "--security-info")
}

func define(t *testing.T, xml string) {
	t.Helper()
	const file = "/run/define.xml"
	if err := hosta.WriteFile(file, []byte(xml), 0o600); err != nil {
		t.Fatal(err)
	}
	virsh(t, "define", file)
}

// storedBitmaps names the bitmaps in the image of a machine's disk. The machine is
// off: a running one has newer ones in memory only.
func storedBitmaps(t *testing.T, m *lab.Machine, disk string) []string {
	t.Helper()
	image, err := m.DiskPath(t.Context(), disk)
	if err != nil {
		t.Fatal(err)
	}
	out, err := hosta.Run(t.Context(), "qemu-img", "info", "--output=json", image)
	if err != nil {
		t.Fatal(err)
	}
	var info struct {
		Specific struct {
			Data struct {
				Bitmaps []struct {
					Name string `json:"name"`
				} `json:"bitmaps"`
			} `json:"data"`
		} `json:"format-specific"`
	}
	if err := json.Unmarshal([]byte(out), &info); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, b := range info.Specific.Data.Bitmaps {
		names = append(names, b.Name)
	}
	slices.Sort(names)
	return names
}

// sameAsChain is sameAsSource for disks whose image may have backing files.
func sameAsChain(t *testing.T, m *lab.Machine, disks ...string) {
	t.Helper()
	const flat = "/var/tmp/flat.raw"
	for _, d := range disks {
		image, err := m.DiskPath(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.QemuIO(t.Context(), d, "flush"); err != nil {
			t.Fatal(err)
		}
		// In the host: it alone sees the backing files where their names say.
		if _, err := hosta.Run(t.Context(), "qemu-img", "convert", "-U", "-f", "qcow2", "-O", "raw", image, flat); err != nil {
			t.Fatal(err)
		}
		identical(t, "raw", hosta.Path(flat), topImage(t, m.Name(), d))
	}
	if _, err := hosta.Run(t.Context(), "rm", flat); err != nil {
		t.Fatal(err)
	}
}

// killQemu ends a machine's qemu with SIGKILL, as the host's memory killer does.
func killQemu(t *testing.T, m *lab.Machine) {
	t.Helper()
	killAll(t, hosta, "guest="+m.Name())
	eventually(t, "libvirt notices", func() bool {
		state, err := m.State(t.Context())
		return err == nil && state == "shut off"
	})
}

// snapshot has vda go on in a new image, on top of the one it had. Of a machine that is
// off libvirt refuses that while it knows checkpoints, but qemu-img and an editor do not.
func snapshot(t *testing.T, m *lab.Machine, running bool) {
	t.Helper()
	base, err := m.DiskPath(t.Context(), "vda")
	if err != nil {
		t.Fatal(err)
	}
	file := lab.ImageDir + "/" + m.Name() + "-vda.snap"
	t.Cleanup(func() {
		ctx, cancel := cleanupContext()
		defer cancel()
		now, err := m.DiskPath(ctx, "vda")
		if err != nil {
			t.Fatal(err)
		}
		// The machine's removal takes the one that it has.
		for _, image := range []string{base, file} {
			if image == now {
				continue
			}
			if _, err := hosta.Run(ctx, "rm", "-f", image); err != nil {
				t.Error(err)
			}
		}
	})
	if running {
		virsh(t, "snapshot-create-as", m.Name(), "s1", "--disk-only", "--no-metadata", "--diskspec", "vda,file="+file)
		return
	}
	if _, err := hosta.Run(t.Context(), "qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", file); err != nil {
		t.Fatal(err)
	}
	define(t, strings.ReplaceAll(inactiveXML(t, m), base, file))
}

func mergeSnapshot(t *testing.T, m *lab.Machine) {
	t.Helper()
	virsh(t, "blockcommit", m.Name(), "vda", "--active", "--pivot", "--wait")
}

// TestNextSyncPutsRight does something to a machine with a replica, and looks at
// whether the next sync puts it right.
func TestNextSyncPutsRight(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(t *testing.T, m *lab.Machine, checkpoint string)
		kind string // of the sync that follows
	}{
		{"metadata deleted", func(t *testing.T, m *lab.Machine, checkpoint string) {
			virsh(t, "checkpoint-delete", m.Name(), checkpoint, "--metadata")
			dirty(t, m, "vda", 40*mib, mib, 7)
		}, "incremental"},
		{"defined again while it is off", func(t *testing.T, m *lab.Machine, _ string) {
			xml := inactiveXML(t, m)
			destroy(t, m)
			virsh(t, "undefine", m.Name(), "--checkpoints-metadata")
			define(t, xml)
			startPaused(t, m)
			dirty(t, m, "vda", 40*mib, mib, 7)
		}, "incremental"},
		{"defined again while it runs", func(t *testing.T, m *lab.Machine, _ string) {
			xml := inactiveXML(t, m)
			virsh(t, "undefine", m.Name(), "--checkpoints-metadata")
			dirty(t, m, "vda", 40*mib, mib, 7)
			define(t, xml)
		}, "incremental"},
		{"checkpoint deleted", func(t *testing.T, m *lab.Machine, checkpoint string) {
			virsh(t, "checkpoint-delete", m.Name(), checkpoint)
			dirty(t, m, "vda", 40*mib, mib, lab.Zero)
		}, "resync"},
		{"checkpoint forgotten and one of its bitmaps gone", func(t *testing.T, m *lab.Machine, checkpoint string) {
			virsh(t, "checkpoint-delete", m.Name(), checkpoint, "--metadata")
			destroy(t, m)
			removeBitmap(t, m, "vda", checkpoint)
			startPaused(t, m)
			dirty(t, m, "vda", 0, mib, lab.Zero)
		}, "resync"},
		{"one of its bitmaps gone", func(t *testing.T, m *lab.Machine, checkpoint string) {
			destroy(t, m)
			removeBitmap(t, m, "vdb", checkpoint)
			startPaused(t, m)
			dirty(t, m, "vda", 0, mib, lab.Zero)
		}, "resync"},
		{"qemu killed", func(t *testing.T, m *lab.Machine, _ string) {
			killQemu(t, m)
			startPaused(t, m)
			dirty(t, m, "vda", 0, mib, lab.Zero)
		}, "resync"},
		{"qemu killed after its bitmaps were stored", func(t *testing.T, m *lab.Machine, _ string) {
			destroy(t, m)
			startPaused(t, m)
			dirty(t, m, "vda", 0, mib, lab.Zero)
			killQemu(t, m)
			startPaused(t, m)
		}, "resync"},
		{"qemu killed and defined again", func(t *testing.T, m *lab.Machine, _ string) {
			xml := inactiveXML(t, m)
			destroy(t, m)
			startPaused(t, m)
			dirty(t, m, "vda", 0, mib, lab.Zero)
			killQemu(t, m)
			virsh(t, "undefine", m.Name(), "--checkpoints-metadata")
			define(t, xml)
			startPaused(t, m)
		}, "resync"},
		{"image replaced by a copy", func(t *testing.T, m *lab.Machine, _ string) {
			destroy(t, m)
			image, err := m.DiskPath(t.Context(), "vda")
			if err != nil {
				t.Fatal(err)
			}
			// Without --bitmaps there are none in the copy.
			if _, err := hosta.Run(t.Context(), "sh", "-c", `qemu-img convert -O qcow2 "$0" "$0.new" && mv "$0.new" "$0"`, image); err != nil {
				t.Fatal(err)
			}
			startPaused(t, m)
			dirty(t, m, "vda", 0, mib, lab.Zero)
		}, "resync"},
		{"snapshot taken", func(t *testing.T, m *lab.Machine, _ string) {
			dirty(t, m, "vda", 40*mib, mib, 7)
			snapshot(t, m, true)
			dirty(t, m, "vda", 42*mib, mib, lab.Zero)
		}, "incremental"},
		{"snapshot taken and merged", func(t *testing.T, m *lab.Machine, _ string) {
			dirty(t, m, "vda", 40*mib, mib, 7)
			snapshot(t, m, true)
			dirty(t, m, "vda", 42*mib, mib, lab.Zero)
			mergeSnapshot(t, m)
			dirty(t, m, "vda", 44*mib, mib, 8)
		}, "incremental"},
		{"snapshot taken and merged without its checkpoint", func(t *testing.T, m *lab.Machine, checkpoint string) {
			virsh(t, "checkpoint-delete", m.Name(), checkpoint, "--metadata")
			dirty(t, m, "vda", 40*mib, mib, 7)
			snapshot(t, m, true)
			dirty(t, m, "vda", 42*mib, mib, lab.Zero)
			mergeSnapshot(t, m)
			dirty(t, m, "vda", 44*mib, mib, 8)
		}, "incremental"},
		{"image put on top while it is off", func(t *testing.T, m *lab.Machine, _ string) {
			dirty(t, m, "vda", 40*mib, mib, 7)
			destroy(t, m)
			snapshot(t, m, false)
			startPaused(t, m)
			dirty(t, m, "vda", 42*mib, mib, lab.Zero)
		}, "resync"},
		{"image put on top while it is off and merged", func(t *testing.T, m *lab.Machine, _ string) {
			dirty(t, m, "vda", 40*mib, mib, 7)
			destroy(t, m)
			snapshot(t, m, false)
			startPaused(t, m)
			dirty(t, m, "vda", 42*mib, mib, lab.Zero)
			mergeSnapshot(t, m)
			dirty(t, m, "vda", 44*mib, mib, 8)
		}, ""},
		{"image put on top while it is off and merged without its checkpoint", func(t *testing.T, m *lab.Machine, checkpoint string) {
			virsh(t, "checkpoint-delete", m.Name(), checkpoint, "--metadata")
			dirty(t, m, "vda", 40*mib, mib, 7)
			destroy(t, m)
			snapshot(t, m, false)
			startPaused(t, m)
			dirty(t, m, "vda", 42*mib, mib, lab.Zero)
			mergeSnapshot(t, m)
			dirty(t, m, "vda", 44*mib, mib, 8)
		}, ""},
		{"image put on top and merged while it is off", func(t *testing.T, m *lab.Machine, checkpoint string) {
			dirty(t, m, "vda", 40*mib, mib, 7)
			destroy(t, m)
			snapshot(t, m, false)
			startPaused(t, m)
			dirty(t, m, "vda", 42*mib, mib, lab.Zero)
			xml := inactiveXML(t, m)
			destroy(t, m)
			image, err := m.DiskPath(t.Context(), "vda")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := hosta.Run(t.Context(), "qemu-img", "commit", "-q", image); err != nil {
				t.Fatal(err)
			}
			define(t, strings.ReplaceAll(xml, image, lab.ImageDir+"/"+m.Name()+"-vda.qcow2"))
			startPaused(t, m)
			dirty(t, m, "vda", 44*mib, mib, 8)
		}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := makeMachine(t, lab.MachineSpec{Name: "puts-right", Disks: []lab.DiskSpec{qcow2("vda", 64*mib), qcow2("vdb", 32*mib)}})
			dirty(t, m, "vda", 0, 8*mib, 1)
			dirty(t, m, "vda", 42*mib, mib, 2)
			dirty(t, m, "vdb", 0, 4*mib, 3)
			sync(t, m.Name())
			c.do(t, m, head(t, m.Name()).Checkpoint)
			dirty(t, m, "vdb", mib, mib, 9)

			o := trySync(t, m.Name())
			s := succeeded(t, o)
			t.Logf("%s, %d bytes changed, warnings: %q", s.Kind, s.ChangedBytes, o.messages("warning"))
			if c.kind != "" && s.Kind != c.kind {
				t.Errorf("kind %s, want %s", s.Kind, c.kind)
			}
			sameAsChain(t, m, "vda", "vdb")
			nothingLeft(t, m)

			dirty(t, m, "vda", 20*mib, mib, 4)
			if s := sync(t, m.Name()); s.Kind != "incremental" || s.ChangedBytes != mib {
				t.Errorf("afterwards: %+v", s)
			}
			sameAsChain(t, m, "vda", "vdb")
			nothingLeft(t, m)
		})
	}
}

// TestImagesThatChangedPlaces: bitmaps have the names of checkpoints, so those of one
// disk look like those of another.
func TestImagesThatChangedPlaces(t *testing.T) {
	t.Run("checkpoint known", func(t *testing.T) { imagesChangePlaces(t, false) })
	t.Run("checkpoint lost", func(t *testing.T) { imagesChangePlaces(t, true) })
}

func imagesChangePlaces(t *testing.T, lost bool) {
	m := machine(t, qcow2("vda", 64*mib), qcow2("vdb", 64*mib))
	dirty(t, m, "vda", 0, 8*mib, 1)
	dirty(t, m, "vdb", 4*mib, 8*mib, 2)
	sync(t, m.Name())
	var paths []string
	for _, disk := range []string{"vda", "vdb"} {
		path, err := m.DiskPath(t.Context(), disk)
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	xml := inactiveXML(t, m)
	destroy(t, m)
	if lost {
		virsh(t, "undefine", m.Name(), "--checkpoints-metadata")
	}
	define(t, strings.NewReplacer(paths[0], paths[1], paths[1], paths[0]).Replace(xml))
	startPaused(t, m)
	dirty(t, m, "vda", 20*mib, mib, 3)
	if s := sync(t, m.Name()); s.Kind == "incremental" {
		t.Errorf("%+v", s)
	}
	sameAsSource(t, m, "vda", "vdb")
	nothingLeft(t, m)
	dirty(t, m, "vdb", 20*mib, mib, 3)
	if s := sync(t, m.Name()); s.Kind != "incremental" || s.ChangedBytes != mib {
		t.Errorf("%+v", s)
	}
	sameAsSource(t, m, "vda", "vdb")
}

func removeBitmap(t *testing.T, m *lab.Machine, disk, name string) {
	t.Helper()
	image, err := m.DiskPath(t.Context(), disk)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "qemu-img", "bitmap", "--remove", hosta.Path(image), name).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// TestBitmapsWithoutACheckpointDoNotPileUp leaves bitmaps behind in many ways, and
// counts them.
func TestBitmapsWithoutACheckpointDoNotPileUp(t *testing.T) {
	m := machine(t, qcow2("vda", 64*mib), qcow2("vdb", 32*mib))
	dirty(t, m, "vda", 0, 8*mib, 1)
	sync(t, m.Name())
	pair, generation, _ := replicator.ParseCheckpointName(head(t, m.Name()).Checkpoint)
	foreign := replicator.CheckpointName("00c0ffee", 3)
	for _, name := range []string{replicator.CheckpointName(pair, generation+5), replicator.CheckpointName(pair, generation+6), foreign, "somebody-elses"} {
		virsh(t, "checkpoint-create-as", m.Name(), name)
	}
	// One on which a disk's bitmap is missing, too.
	broken := replicator.CheckpointName(pair, generation+6)
	xml := inactiveXML(t, m)
	destroy(t, m)
	removeBitmap(t, m, "vda", broken)
	virsh(t, "undefine", m.Name(), "--checkpoints-metadata")
	define(t, xml)
	startPaused(t, m)

	dirty(t, m, "vda", 4*mib, mib, 2)
	if s := sync(t, m.Name()); s.Kind != "incremental" || s.ChangedBytes != mib {
		t.Errorf("%+v", s)
	}
	sameAsSource(t, m, "vda", "vdb")
	nothingLeft(t, m)
	destroy(t, m)
	want := []string{"somebody-elses", foreign, head(t, m.Name()).Checkpoint}
	slices.Sort(want)
	for _, disk := range []string{"vda", "vdb"} {
		if got := storedBitmaps(t, m, disk); !slices.Equal(got, want) {
			t.Errorf("bitmaps of %s: %v, want %v", disk, got, want)
		}
	}

	// After a crash the bitmaps cannot be used, but they must go.
	startPaused(t, m)
	killQemu(t, m)
	virsh(t, "undefine", m.Name(), "--checkpoints-metadata")
	define(t, xml)
	startPaused(t, m)
	if s := sync(t, m.Name()); s.Kind != "resync" {
		t.Errorf("%+v", s)
	}
	sameAsSource(t, m, "vda", "vdb")
	destroy(t, m)
	want = []string{"somebody-elses", foreign, head(t, m.Name()).Checkpoint}
	slices.Sort(want)
	for _, disk := range []string{"vda", "vdb"} {
		if got := storedBitmaps(t, m, disk); !slices.Equal(got, want) {
			t.Errorf("after a crash, bitmaps of %s: %v, want %v", disk, got, want)
		}
	}
}

// TestMachineOfTheSameNameWithAnotherUUID: libvirt's UUID is what tells machines
// apart, so the replica is not given to another one without being asked.
func TestMachineOfTheSameNameWithAnotherUUID(t *testing.T) {
	m := machine(t, qcow2("vda", 64*mib))
	dirty(t, m, "vda", 0, mib, 1)
	sync(t, m.Name())
	was := head(t, m.Name())
	xml, id := inactiveXML(t, m), uuidOf(t, m)
	destroy(t, m)
	virsh(t, "undefine", m.Name(), "--checkpoints-metadata")
	define(t, strings.ReplaceAll(xml, id, "3d6d9a50-7f10-4b4f-8a0a-6e3f6d7f4b11"))
	startPaused(t, m)
	failed(t, trySync(t, m.Name()), 1, "other-machine", m.Name(), "")
	if now := head(t, m.Name()); now.ID != was.ID {
		t.Errorf("the replica went from %s to %s", was.ID, now.ID)
	}
}
