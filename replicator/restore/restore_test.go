package restore

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"vmsync/internal/event"
	"vmsync/internal/qemu"
	"vmsync/internal/store"
	. "vmsync/internal/storetest"
	"vmsync/replicator"
)

func TestMain(m *testing.M) { Main(m) }

const mib = 1 << 20

// replica makes three states of two disks; the first one grows and shrinks.
func replica(t *testing.T) *Replica {
	t.Helper()
	r := New(t)
	r.Add(t, Changed("vda", 16*mib+512, Wrote(0, 8*mib, 1), Wrote(16*mib, 512, 7)), Changed("vdb", 4*mib, Wrote(mib, mib, 9)))
	r.Add(t, Changed("vda", 24*mib, Wrote(mib, mib, 2), Wrote(3*mib, 2*Block, 0), Wrote(20*mib, 4096, 3)), Changed("vdb", 4*mib))
	r.Add(t, Changed("vda", 12*mib+1024, Wrote(mib, Block, 4), Wrote(6*mib+512, 512, 5)), Changed("vdb", 4*mib, Wrote(0, Block, 1)))
	r.Unlock(t)
	return r
}

// run restores something.
func run(t *testing.T, r *Replica, req Request) (*event.Restored, *Sink, error) {
	t.Helper()
	req.Store, req.Domain, req.program = r.Store, r.Domain, Program(t)
	if req.State == "" {
		req.State = store.Latest
	}
	sink := &Sink{}
	done, err := Restore(t.Context(), req, sink)
	if left, _ := os.ReadDir(r.Path("pins")); len(left) > 1 {
		t.Errorf("%d pins are left", len(left)-1)
	}
	return done, sink, err
}

func same(t *testing.T, r *Replica, state, disk, path, format string) {
	t.Helper()
	if !bytes.Equal(Raw(t, path, format), r.Content[state][disk]) {
		t.Errorf("%s is not disk %s of %s", path, disk, state)
	}
}

// only checks which names a folder has.
func only(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("%s holds %q, want %q", dir, got, want)
	}
}

func TestEveryStateIsRestoredToAFolder(t *testing.T) {
	r := replica(t)
	for _, s := range r.Manifest(t).States {
		for _, format := range []string{"", qemu.FormatRaw} {
			dir := filepath.Join(t.TempDir(), "new", "folder, with a comma")
			done, sink, err := run(t, r, Request{State: s.ID, To: dir, Format: format})
			if err != nil {
				t.Fatal(err)
			}
			ending := ".qcow2"
			if format == qemu.FormatRaw {
				ending = ".img"
			}
			only(t, dir, "domain.xml", "vda"+ending, "vdb"+ending)
			for i, d := range s.Disks {
				same(t, r, s.ID, d.Name, done.Disks[i].Path, done.Disks[i].Format)
			}
			xml, err := os.ReadFile(filepath.Join(dir, "domain.xml"))
			want, _ := os.ReadFile(r.Path(s.DomainXML))
			if err != nil || !bytes.Equal(xml, want) {
				t.Errorf("domain.xml: %v\n%s", err, xml)
			}
			for _, name := range []string{"domain.xml", "vda" + ending} {
				if st, err := os.Stat(filepath.Join(dir, name)); err != nil || st.Mode() != 0o600 {
					t.Errorf("%s: %v, %v", name, st.Mode(), err)
				}
			}
			if n := len(Of[event.Progress](sink)); n == 0 {
				t.Error("no progress")
			}
		}
	}
}

func TestARestoredDiskIsSparse(t *testing.T) {
	r := New(t)
	r.Add(t, Changed("vda", 256*mib, Wrote(200*mib, mib, 1)))
	r.Unlock(t)
	for _, name := range []string{"a.qcow2", "a.raw"} {
		path := filepath.Join(t.TempDir(), name)
		if _, _, err := run(t, r, Request{To: path}); err != nil {
			t.Fatal(err)
		}
		var st syscall.Stat_t
		if err := syscall.Stat(path, &st); err != nil || st.Blocks*512 > 3*mib {
			t.Errorf("%s takes %d bytes, %v", name, st.Blocks*512, err)
		}
	}
}

func TestFirmwareGoesToTheFolder(t *testing.T) {
	r := New(t)
	r.Add(t, Changed("vda", mib, Wrote(0, Block, 1)))
	r.Change(t, func(m *store.Manifest) {
		m.States[0].NVRAM, m.States[0].TPM = store.NVRAMName(1), store.TPMName(1)
		for name, content := range map[string]string{store.NVRAMName(1): "variables", store.TPMName(1): "tpm"} {
			if err := r.Folder.Keep(&m.States[0], name, []byte(content)); err != nil {
				t.Fatal(err)
			}
		}
	})
	r.Unlock(t)
	dir := t.TempDir()
	if _, _, err := run(t, r, Request{To: dir}); err != nil {
		t.Fatal(err)
	}
	only(t, dir, "domain.xml", "nvram.fd", "tpm.tar", "vda.qcow2")
	if b, _ := os.ReadFile(filepath.Join(dir, "nvram.fd")); string(b) != "variables" {
		t.Errorf("%q", b)
	}
}

func TestAlteredFirmwareIsNotRestored(t *testing.T) {
	r := New(t)
	r.Add(t, Changed("vda", mib, Wrote(0, Block, 1)))
	r.Change(t, func(m *store.Manifest) {
		m.States[0].NVRAM = store.NVRAMName(1)
		if err := r.Folder.Keep(&m.States[0], store.NVRAMName(1), []byte("variables")); err != nil {
			t.Fatal(err)
		}
	})
	Flip(t, r.Path(store.NVRAMName(1)), 2)
	r.Unlock(t)
	dir := filepath.Join(t.TempDir(), "to")
	_, _, err := run(t, r, Request{To: dir})
	if replicator.KindOf(err) != replicator.KindDamaged || !strings.Contains(err.Error(), "nvram/1.fd is not as received") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("something is left: %v", err)
	}
}

func TestOneDiskGoesToAFile(t *testing.T) {
	r := replica(t)
	head := r.Manifest(t).Head().ID
	for name, format := range map[string]string{"x.qcow2": "qcow2", "x.img": "raw", "x.raw": "raw"} {
		path := filepath.Join(t.TempDir(), name)
		done, _, err := run(t, r, Request{To: path, Disks: []string{"vda"}})
		if err != nil {
			t.Fatal(err)
		}
		only(t, filepath.Dir(path), name)
		same(t, r, head, "vda", path, format)
		if done.Disks[0].Format != format {
			t.Errorf("%+v", done)
		}
	}
	_, _, err := run(t, r, Request{To: filepath.Join(t.TempDir(), "x.qcow2")})
	if replicator.KindOf(err) != replicator.KindUsage || !strings.Contains(err.Error(), "vda, vdb") {
		t.Errorf("two disks to one file: %v", err)
	}
	_, _, err = run(t, r, Request{To: filepath.Join(t.TempDir(), "x.qcow2"), Disks: []string{"vdc"}})
	if replicator.KindOf(err) != replicator.KindNoDisk {
		t.Errorf("no such disk: %v", err)
	}
}

// loop is a block device of so many bytes, full of something.
func loop(t *testing.T, size int64) string {
	t.Helper()
	back := filepath.Join(t.TempDir(), "device")
	if err := os.WriteFile(back, bytes.Repeat([]byte{0xee}, int(size)), 0o600); err != nil {
		t.Fatal(err)
	}
	dev := strings.TrimSpace(Run(t, "sh", "-c", "losetup --find --show "+back+" 2>&1 || echo no"))
	if !strings.HasPrefix(dev, "/dev/") {
		t.Skipf("this test needs a loop device: %s", dev)
	}
	t.Cleanup(func() { Run(t, "losetup", "-d", dev) })
	return dev
}

func TestABlockDeviceIsWritten(t *testing.T) {
	r := replica(t)
	head := r.Manifest(t).Head()
	dev := loop(t, 14*mib)
	req := Request{To: dev, Disks: []string{"vda"}}
	_, _, err := run(t, r, req)
	if replicator.KindOf(err) != replicator.KindUsage || !strings.Contains(err.Error(), "--yes") {
		t.Errorf("unasked: %v", err)
	}
	if b := Raw(t, dev, "raw"); b[0] != 0xee {
		t.Fatal("it was written to unasked")
	}
	req.Yes = true
	if _, _, err := run(t, r, req); err != nil {
		t.Fatal(err)
	}
	got := Raw(t, dev, "raw")
	if !bytes.Equal(got[:head.Disk("vda").Size], r.Content[head.ID]["vda"]) {
		t.Error("the device is not the disk")
	}
	if got[len(got)-1] != 0xee {
		t.Error("it was written to beyond the disk's end")
	}
}

func TestABlockDeviceThatIsTooSmallIsRefused(t *testing.T) {
	r := replica(t)
	dev := loop(t, 8*mib)
	_, _, err := run(t, r, Request{To: dev, Disks: []string{"vda"}, Yes: true})
	if err == nil || !strings.Contains(err.Error(), "only 8388608") || Raw(t, dev, "raw")[0] != 0xee {
		t.Errorf("%v", err)
	}
}

func TestABlockDeviceThatIsMountedIsRefused(t *testing.T) {
	r := replica(t)
	dev := loop(t, 24*mib)
	Run(t, "mkfs.ext4", "-q", dev)
	at := t.TempDir()
	Run(t, "mount", dev, at)
	t.Cleanup(func() { Run(t, "umount", at) })
	if err := os.WriteFile(filepath.Join(at, "precious"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, _, err := run(t, r, Request{To: dev, Disks: []string{"vda"}, Yes: true})
	if err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("%v", err)
	}
	only(t, at, "lost+found", "precious")
}

func TestWhatExistsIsKeptUnlessForced(t *testing.T) {
	r := replica(t)
	for _, name := range []string{"vdb.qcow2", "domain.xml"} {
		dir := t.TempDir()
		mine := filepath.Join(dir, name)
		if err := os.WriteFile(mine, []byte("mine"), 0o644); err != nil {
			t.Fatal(err)
		}
		_, _, err := run(t, r, Request{To: dir})
		if replicator.KindOf(err) != replicator.KindUsage || !strings.Contains(err.Error(), mine) {
			t.Errorf("got %v", err)
		}
		only(t, dir, name)
		if b, _ := os.ReadFile(mine); string(b) != "mine" {
			t.Errorf("%s: %q", name, b)
		}
		if _, _, err := run(t, r, Request{To: dir, Force: true}); err != nil {
			t.Error(err)
		}
		only(t, dir, "domain.xml", "vda.qcow2", "vdb.qcow2")
		same(t, r, r.Manifest(t).Head().ID, "vdb", filepath.Join(dir, "vdb.qcow2"), "qcow2")
	}
}

// A file that appears while the disks are written is not overwritten, and what was placed
// before it goes again.
func TestWhatAppearsMeanwhileIsKept(t *testing.T) {
	r := replica(t)
	dir := t.TempDir()
	rs := &restore{req: Request{Store: r.Store, Domain: r.Domain}, out: &Sink{}, dest: destination{folder, dir}}
	for _, name := range []string{"a", "b"} {
		p := piece{path: filepath.Join(dir, name), from: "x"}
		if err := p.makeTemp(); err != nil {
			t.Fatal(err)
		}
		rs.pieces = append(rs.pieces, p)
	}
	if err := os.WriteFile(filepath.Join(dir, "b"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	pin, err := store.PinState(t.Context(), r.Store, r.Domain, store.Latest, "test")
	if err != nil {
		t.Fatal(err)
	}
	defer pin.Release()
	rs.pin = pin
	if err := rs.place(); err == nil {
		t.Error("it was overwritten")
	}
	if err := rs.cleanUp(); err != nil {
		t.Error(err)
	}
	only(t, dir, "b")
}

func TestAFullFileSystemLeavesNothing(t *testing.T) {
	r := replica(t)
	small := t.TempDir()
	if err := syscall.Mount("tmpfs", small, "tmpfs", 0, "size=6m"); err != nil {
		t.Skipf("cannot mount a tmpfs: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(small, 0) })
	for _, to := range []string{small, small + "/folder", small + "/x.qcow2", small + "/x.img"} {
		req := Request{To: to}
		if strings.Contains(to, "x.") {
			req.Disks = []string{"vda"}
		}
		_, _, err := run(t, r, req)
		e := replicator.AsError(err)
		if e == nil || e.Kind != replicator.KindNoSpace || e.Disk != "vda" || !strings.Contains(e.Text(), "is full") {
			t.Errorf("%s: %v", to, err)
		}
		only(t, small)
	}
}

func TestADamagedStateIsRefused(t *testing.T) {
	r := replica(t)
	r.Change(t, func(m *store.Manifest) { m.Image(store.ImageName("vda", 2)).Damaged = "it is damaged" })
	states := r.Manifest(t).States
	for i, bad := range []bool{false, true, true} {
		dir := t.TempDir()
		_, _, err := run(t, r, Request{State: states[i].ID, To: dir})
		if bad != (replicator.KindOf(err) == replicator.KindDamaged) || !bad && err != nil {
			t.Errorf("state %d: %v", i+1, err)
		}
		if bad {
			only(t, dir)
		}
	}
	// The other disk is all right.
	if _, _, err := run(t, r, Request{To: t.TempDir() + "/vdb.img", Disks: []string{"vdb"}}); err != nil {
		t.Error(err)
	}
}

func TestDamageThatNobodyKnewOfIsNoticed(t *testing.T) {
	r := replica(t)
	Run(t, "qemu-io", "-f", "qcow2", "-c", "write -q -P 99 5M 512", r.Path(store.ImageName("vda", 1)))
	for _, to := range []string{"x.qcow2", "x.img"} {
		dir := t.TempDir()
		_, _, err := run(t, r, Request{To: filepath.Join(dir, to), Disks: []string{"vda"}})
		if replicator.KindOf(err) != replicator.KindDamaged || !strings.Contains(err.Error(), "vmsync verify vm1@") {
			t.Errorf("%v", err)
		}
		only(t, dir)
	}
}

func TestPlacesThatMakeNoSense(t *testing.T) {
	r := replica(t)
	for to, want := range map[string]string{
		"relative":                 "absolute",
		"/dev/no-such-device":      "no device",
		"/dev/null":                "neither a folder",
		r.Path("disks"):            "folder of the replica",
		r.Path("new.qcow2"):        "folder of the replica",
		r.Path("disks") + "/../x/": "folder of the replica",
	} {
		_, _, err := run(t, r, Request{To: to, Disks: []string{"vda"}})
		if replicator.KindOf(err) != replicator.KindUsage || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", to, err)
		}
	}
	if _, _, err := run(t, r, Request{To: t.TempDir() + "/x.qcow2", Disks: []string{"vda"}, Define: "new"}); replicator.KindOf(err) != replicator.KindUsage {
		t.Errorf("a domain over a file: %v", err)
	}
	if _, _, err := run(t, r, Request{To: t.TempDir(), Format: "vmdk"}); replicator.KindOf(err) != replicator.KindUsage {
		t.Errorf("a format: %v", err)
	}
	name := filepath.Join(t.TempDir(), "noname")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := run(t, r, Request{To: name, Disks: []string{"vda"}, Force: true}); err == nil || !strings.Contains(err.Error(), "--format") {
		t.Errorf("no format: %v", err)
	}
}

func TestTheNewMachineIsItsOwn(t *testing.T) {
	r := replica(t)
	xml, err := os.ReadFile(r.Path(r.Manifest(t).Head().DomainXML))
	if err != nil {
		t.Fatal(err)
	}
	got, err := machineXML(string(xml), "new", "11111111-2222-3333-4444-555555555555", "/to/nvram.fd",
		[]event.RestoredDisk{{Disk: "vda", Path: "/to/vda.img", Format: "raw"}})
	if err != nil {
		t.Fatal(err)
	}
	got = strings.ReplaceAll(got, "'", `"`)
	for _, want := range []string{"<name>new</name>", "<uuid>11111111-2222-3333-4444-555555555555</uuid>", `type="raw"`, `file="/to/vda.img"`} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
	for _, not := range []string{"52:54:00:00:00:01", "vdb", "/somewhere/"} {
		if strings.Contains(got, not) {
			t.Errorf("%s in\n%s", not, got)
		}
	}
}
