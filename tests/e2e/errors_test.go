package e2e

import (
	"os/exec"
	"strings"
	"testing"

	"vmsync/tests/lab"
)

// hide makes a program of a host impossible to find for the rest of the test.
func hide(t *testing.T, h *lab.Host, file string) {
	t.Helper()
	if _, err := h.Run(t.Context(), "mv", file, file+".hidden"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := cleanupContext()
		defer cancel()
		if _, err := h.Run(ctx, "mv", file+".hidden", file); err != nil {
			t.Error(err)
		}
	})
}

func TestUnknownDomain(t *testing.T) {
	failed(t, trySync(t, "no-such-machine"), 1, "unknown-domain", "no-such-machine", "")
	if manifest(t, "no-such-machine") != nil {
		t.Error("the store has a folder for it")
	}
}

func TestDomainOff(t *testing.T) {
	m := machine(t, qcow2("vda", 64*mib))
	if err := m.Destroy(t.Context()); err != nil {
		t.Fatal(err)
	}
	e := failed(t, trySync(t, m.Name()), 1, "domain-off", m.Name(), "")
	if !strings.Contains(e.Message, "shut off") {
		t.Errorf("%q", e.Message)
	}
}

func raw(target string, size int64) lab.DiskSpec {
	return lab.DiskSpec{Target: target, Size: size, Format: "raw"}
}

func TestRawDiskIsNamedAndSkipped(t *testing.T) {
	m := machine(t, qcow2("vda", 64*mib), raw("vdb", 64*mib))
	dirty(t, m, "vda", 0, mib, 1)
	o := trySync(t, m.Name())
	succeeded(t, o)
	if w := o.messages("warning"); !strings.Contains(w, "vdb") || !strings.Contains(w, "raw") {
		t.Errorf("warnings: %q", w)
	}
	sameAsSource(t, m, "vda")
	if l := head(t, m.Name()).LeftOut; len(l) != 1 || l[0] != "vdb" {
		t.Errorf("left out: %v", l)
	}
	xml, err := hostb.Machine(m.Name()).XML(t.Context())
	if err != nil || strings.Contains(xml, "vdb") {
		t.Errorf("the replica's domain has a disk it has no data for: %v\n%s", err, xml)
	}
}

func TestOnlyARawDiskIsRefused(t *testing.T) {
	m := machine(t, raw("vda", 64*mib))
	e := failed(t, trySync(t, m.Name()), 1, "no-disk", m.Name(), "")
	if !strings.Contains(e.Message, "vda") || !strings.Contains(e.Message, "raw") {
		t.Errorf("%q", e.Message)
	}
}

func TestQcow2OfVersion2IsRefused(t *testing.T) {
	m := machine(t, qcow2("vda", 64*mib))
	image, err := m.DiskPath(t.Context(), "vda")
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Destroy(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := hosta.Run(t.Context(), "qemu-img", "create", "-q", "-f", "qcow2", "-o", "compat=0.10", image, "64M"); err != nil {
		t.Fatal(err)
	}
	if err := m.StartPaused(t.Context()); err != nil {
		t.Fatal(err)
	}
	e := failed(t, trySync(t, m.Name()), 1, "no-disk", m.Name(), "")
	if !strings.Contains(e.Message, "vda") || !strings.Contains(e.Hint, "compat=1.1") {
		t.Errorf("%+v", e)
	}
}

func TestTargetUnreachable(t *testing.T) {
	m := machine(t, qcow2("vda", 64*mib))
	for name, uri := range map[string]string{
		"no such host":    "qemu+ssh://root@nowhere/system",
		"nobody listens":  "qemu+ssh://root@hostb:9/system",
		"key not allowed": "qemu+ssh://nobody@hostb/system",
	} {
		t.Run(name, func(t *testing.T) {
			failed(t, start(t, hosta, "sync", m.Name(), "--target-uri", uri, "--json").wait(), 1, "unreachable", m.Name(), "")
		})
	}
	nothingLeft(t, m)
}

func TestUnknownAndChangedHostKeyAreRefusedWithTheFix(t *testing.T) {
	m := machine(t, qcow2("vda", 64*mib))
	const known = "/root/.ssh/known_hosts"
	before, err := hosta.ReadFile(known)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := hosta.WriteFile(known, before, 0o600); err != nil {
			t.Error(err)
		}
	})
	run := func() outcome {
		return start(t, hosta, "sync", m.Name(), "--target-uri", uriB, "--json").wait()
	}

	if err := hosta.WriteFile(known, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	e := failed(t, run(), 1, "unreachable", m.Name(), "")
	_, fix, ok := strings.Cut(e.Hint, "then: ")
	if !ok || !strings.Contains(e.Message, "SHA256:") {
		t.Fatalf("%+v", e)
	}
	if _, err := hosta.Run(t.Context(), "sh", "-c", fix); err != nil {
		t.Fatalf("%s: %v", fix, err)
	}
	succeeded(t, run())

	// Another host's key under hostb's name.
	changed := strings.ReplaceAll(string(before), "hosta", "someone")
	changed = strings.ReplaceAll(changed, "hostb", "hosta")
	changed = strings.ReplaceAll(changed, "someone", "hostb")
	if err := hosta.WriteFile(known, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	e = failed(t, run(), 1, "unreachable", m.Name(), "")
	if !strings.Contains(e.Hint, "ssh-keygen") {
		t.Errorf("%+v", e)
	}
}

func TestMissingProgramsAreNamed(t *testing.T) {
	m := machine(t, qcow2("vda", 64*mib))
	for _, c := range []struct {
		on   *lab.Host
		file string
		args []string
	}{
		{hosta, binDir + "vmsync", fromTarget(m.Name())},
		{hosta, binDir + "vmsync-nbd", fromTarget(m.Name())},
		{hostb, binDir + "vmsync-nbd", fromTarget(m.Name())},
		{hostb, "/usr/bin/qemu-nbd", fromTarget(m.Name())},
		{hostb, "/usr/bin/qemu-img", fromTarget(m.Name())},
	} {
		t.Run(c.file+" on "+c.on.Name(), func(t *testing.T) {
			hide(t, c.on, c.file)
			e := failed(t, start(t, hostb, c.args...).wait(), 1, "program-missing", m.Name(), "")
			program := c.file[strings.LastIndex(c.file, "/")+1:]
			if !strings.Contains(e.Message, program) || !strings.Contains(e.Message+e.Hint, c.on.Name()) {
				t.Errorf("%+v", e)
			}
		})
	}
	if mf := manifest(t, m.Name()); mf != nil && mf.Head() != nil {
		t.Error("a state is listed")
	}
	nothingLeft(t, m)
}

func TestStoreThatCannotBeWritten(t *testing.T) {
	m := machine(t, qcow2("vda", 64*mib))
	if err := hostb.WriteFile("/var/tmp/a-file", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	failed(t, trySync(t, m.Name(), "--store", "/var/tmp/a-file"), 1, "store", m.Name(), "")
	failed(t, trySync(t, m.Name(), "--store", "/proc/vmsync"), 1, "store", m.Name(), "")
	nothingLeft(t, m)
}

func TestForeignBackupJobIsLeftAlone(t *testing.T) {
	m := machine(t, qcow2("vda", 64*mib))
	if err := hosta.WriteFile("/var/tmp/foreign.xml", []byte(`<domainbackup mode='pull'><server transport='tcp' name='127.0.0.1' port='10999'/></domainbackup>`), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := hosta.Run(t.Context(), "virsh", "backup-begin", m.Name(), "/var/tmp/foreign.xml"); err != nil {
		t.Fatal(err)
	}
	e := failed(t, trySync(t, m.Name()), 1, "job-active", m.Name(), "")
	if !strings.Contains(e.Message, "backup") {
		t.Errorf("%q", e.Message)
	}
	out, err := hosta.Run(t.Context(), "virsh", "domjobinfo", m.Name())
	if err != nil || !strings.Contains(out, "Backup") {
		t.Fatalf("the other program's job is gone: %v\n%s", err, out)
	}
	if _, err := hosta.Run(t.Context(), "virsh", "domjobabort", m.Name()); err != nil {
		t.Fatal(err)
	}
	sync(t, m.Name())
	nothingLeft(t, m)
}

func TestSecondRunOfTheSameMachineIsRefusedAndTheFirstGoesOn(t *testing.T) {
	const held = "/run/vmsync-hold-first"
	m := busyMachine(t)
	withFault(t, hostb, "target-before-commit=hold:"+held)
	r := start(t, hostb, fromTarget(m.Name())...)
	eventually(t, "the first run is held", func() bool { return exists(t, hostb, held) })
	on(t, hostb, "rm", faultFile) // the others go their way
	failed(t, trySync(t, m.Name()), 75, "busy", m.Name(), "")
	failed(t, start(t, op_, "sync", m.Name(), "--source-uri", uriA, "--target-uri", uriB, "--json").wait(), 75, "busy", m.Name(), "")
	// Another machine is nobody's business.
	other := makeMachine(t, lab.MachineSpec{Name: "second-run-other", Disks: []lab.DiskSpec{qcow2("vda", 64*mib)}})
	sync(t, other.Name())
	on(t, hostb, "rm", held)
	succeeded(t, r.wait())
	sameAsSource(t, m, "vda", "vdb")
	nothingLeft(t, m)
}

func TestDomainOfTheSameNameThatIsNoReplicaIsLeftAlone(t *testing.T) {
	m := machine(t, qcow2("vda", 64*mib))
	stranger, err := hostb.CreateMachine(t.Context(), lab.MachineSpec{Name: m.Name(), Disks: []lab.DiskSpec{qcow2("vda", 32*mib)}})
	if err != nil {
		t.Fatal(err)
	}
	before, err := stranger.XML(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	failed(t, trySync(t, m.Name()), 1, "other-machine", m.Name(), "")
	if after, err := stranger.XML(t.Context()); err != nil || after != before {
		t.Errorf("its definition changed: %v", err)
	}
	nothingLeft(t, m)
}

func TestLostBitmapMeansAResync(t *testing.T) {
	m := machine(t, qcow2("vda", 128*mib))
	dirty(t, m, "vda", 0, 8*mib, 1)
	dirty(t, m, "vda", 16*mib, 8*mib, 2)
	sync(t, m.Name())
	// Something deletes the bitmap behind libvirt's back; then a part is zeroed.
	cp := head(t, m.Name()).Checkpoint
	if err := m.Destroy(t.Context()); err != nil {
		t.Fatal(err)
	}
	image, err := m.DiskPath(t.Context(), "vda")
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "qemu-img", "bitmap", "--remove", hosta.Path(image), cp).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := m.StartPaused(t.Context()); err != nil {
		t.Fatal(err)
	}
	dirty(t, m, "vda", 0, 8*mib, lab.Zero)
	o := trySync(t, m.Name())
	s := succeeded(t, o)
	if s.Kind != "resync" || !strings.Contains(o.messages("warning"), cp) {
		t.Errorf("%+v, warnings %q", s, o.messages("warning"))
	}
	sameAsSource(t, m, "vda")
	onlyPlainImages(t, m.Name())
	nothingLeft(t, m)
	if s := sync(t, m.Name()); s.Kind != "incremental" {
		t.Errorf("%+v", s)
	}
}

func TestUsageErrors(t *testing.T) {
	for _, args := range [][]string{
		{"sync"}, {"sync", "a", "b"}, {"sync", "vm1", "--source-uri", "qemu+tcp://hosta/system"}, {"sync", "vm1", "--no-such-flag"},
		{"sync", "vm1", "--store", "relative"}, {"sync", "vm1", "--progress", "fancy"}, {"-source-uri", uriA}, {"sync", "vm1", "--compress", "rot13"},
		{"send"}, {"send", "a", "b"}, {"send", "vm1", "--compress", "rot13"}, {"send", "vm1", "--source-uri", "qemu+tcp://hosta/system"},
		{"receive", "file"}, {"receive", "--store", "relative"}, {"stream", "dump", "a", "b"}, {"stream", "verify", "--extents"},
		{"sync", "vm1", "--compress", "zstd:99"}, {"sync", "vm1", "--rate", "fast"}, {"sync", "vm1", "--rate", "10"}, {"sync", "vm1", "--rate", "-5M"},
		{"sync", "vm1", "--transport", "tcp"},
	} {
		r := start(t, hostb, args...)
		if err := r.cmd.Wait(); err == nil || r.cmd.ProcessState.ExitCode() != 2 {
			t.Errorf("%q: %v", args, err)
		}
		if !strings.HasPrefix(r.stderr.String(), "vmsync: ") {
			t.Errorf("%q: %q", args, r.stderr.String())
		}
	}
}
