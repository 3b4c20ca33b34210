package e2e

import "testing"

// TestMergeKilledHalfWay kills qemu-img in the middle of merging an overlay into
// its base. The state must read right all the same, and so must what the replica
// would boot from: it must not see the half-merged base alone.
func TestMergeKilledHalfWay(t *testing.T) {
	const qemuImg = "/usr/bin/qemu-img"
	m := machine(t, qcow2("vda", 512*mib))
	dirty(t, m, "vda", 0, 256*mib, 1)
	sync(t, m.Name())
	base := head(t, m.Name()).Disks[0].Image
	old := copyOf(t, m, "vda")
	dirty(t, m, "vda", 0, 256*mib, 2)

	hide(t, hostb, qemuImg)
	script := "#!/bin/sh\n" +
		"[ \"$1\" = commit ] || exec " + qemuImg + ".hidden \"$@\"\n" +
		// At 64 MiB a second, so that there is a middle on any machine.
		"shift; " + qemuImg + ".hidden commit -r 67108864 \"$@\" & sleep 1.5; kill -9 $!; exit 1\n"
	if err := hostb.WriteFile(qemuImg, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	failed(t, trySync(t, m.Name()), 1, "store", m.Name(), "")

	half := hostb.Path(storeDir + "/" + m.Name() + "/" + base)
	now := copyOf(t, m, "vda")
	if same(t, "raw", old, half) || same(t, "raw", now, half) {
		t.Fatal("the merge was not killed half way, this test proves nothing")
	}
	boots, err := hostb.Machine(m.Name()).DiskPath(t.Context(), "vda")
	if err != nil {
		t.Fatal(err)
	}
	identical(t, "raw", now, topImage(t, m.Name(), "vda"))
	identical(t, "raw", now, hostb.Path(boots))

	if _, err := hostb.Run(t.Context(), "cp", "--remove-destination", qemuImg+".hidden", qemuImg); err != nil {
		t.Fatal(err)
	}
	dirty(t, m, "vda", 300*mib, mib, 3)
	sync(t, m.Name())
	sameAsSource(t, m, "vda")
	onlyPlainImages(t, m.Name())
	nothingLeft(t, m)
}
