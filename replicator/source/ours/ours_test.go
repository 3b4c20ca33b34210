package ours

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vmsync/internal/libvirt"
	"vmsync/replicator"
)

func TestOnlyJobsOfOurNamesAreOurs(t *testing.T) {
	ours := func() *libvirt.Backup {
		return &libvirt.Backup{Socket: "/var/lib/libvirt/qemu/domain-1-x/" + SocketName("0a1b2c3d"), Disks: []libvirt.BackupDisk{
			{Name: "vda", Scratch: ScratchFile(Image{Path: "/img/a.qcow2"}, "vmsync-0a1b2c3d-7")}, {Name: "sda", Excluded: true}}}
	}
	if b := ours(); !IsJob(b) || !IsJobOf(b, "vmsync-0a1b2c3d-7") {
		t.Error("our job is not ours")
	}
	if IsJobOf(ours(), "vmsync-0a1b2c3d-8") || IsJobOf(ours(), "vmsync-0a1b2c3d-77") {
		t.Error("another run's job is this one's")
	}
	for what, change := range map[string]func(*libvirt.Backup){
		"TCP":              func(b *libvirt.Backup) { b.Socket = "" },
		"another's socket": func(b *libvirt.Backup) { b.Socket = "/x/virtnbdbackup.1.sock" },
		"similar socket":   func(b *libvirt.Backup) { b.Socket = "/x/vmsync-backup.sock" },
	} {
		b := ours()
		change(b)
		if IsJob(b) || IsJobOf(b, "vmsync-0a1b2c3d-7") {
			t.Errorf("%s: the job is ours", what)
		}
	}
	foreign := ours()
	foreign.Disks[0].Scratch = "/img/a.qcow2.cp1"
	if IsJobOf(foreign, "vmsync-0a1b2c3d-7") {
		t.Error("a job with a foreign scratch file is this run's")
	}
	if IsJob(nil) {
		t.Error("no job is ours")
	}
}

func TestOnlyOwnScratchFilesOfTheImageAreRemoved(t *testing.T) {
	dir := t.TempDir()
	image := filepath.Join(dir, "a.qcow2")
	keep := []string{
		"a.qcow2", "a.qcow22.vmsync-0a1b2c3d-1.scratch", "xa.qcow2.vmsync-0a1b2c3d-1.scratch", "a.qcow2.scratch",
		"a.qcow2.mine.scratch", "a.qcow2.vmsync-0a1b2c3d-01.scratch", "a.qcow2.vmsync-0a1b2c3d-1", "a.qcow2.old.vmsync-0a1b2c3d-1.scratch",
	}
	gone := []string{"a.qcow2.vmsync-0a1b2c3d-1.scratch", "a.qcow2.vmsync-ffffffff-12.scratch"}
	for _, name := range slices.Concat(keep, gone) {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	link := "a.qcow2.vmsync-0a1b2c3d-3.scratch"
	if err := os.Symlink(image, filepath.Join(dir, link)); err != nil {
		t.Fatal(err)
	}
	removed, err := RemoveScratch(Image{Path: image})
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, name := range gone {
		want = append(want, filepath.Join(dir, name))
	}
	if diff := cmp.Diff(want, removed); diff != "" {
		t.Error(diff)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, e := range entries {
		left = append(left, e.Name())
	}
	slices.Sort(left)
	keep = append(keep, link)
	slices.Sort(keep)
	if diff := cmp.Diff(keep, left); diff != "" {
		t.Error(diff)
	}
	if removed, err := RemoveScratch(Image{Path: filepath.Join(dir, "gone", "b.qcow2")}); err != nil || removed != nil {
		t.Errorf("a missing folder: %v, %v", removed, err)
	}
}

func TestSecondLockIsBusyAndNamesTheHolder(t *testing.T) {
	dir := t.TempDir()
	const uuid = "b2a92350-943c-43cd-a77f-3ab8c7bc4027"
	first, err := TakeLock(dir, uuid, "sync of web")
	if err != nil {
		t.Fatal(err)
	}
	_, err = TakeLock(dir, uuid, "other")
	busy, ok := errors.AsType[*replicator.BusyError](err)
	if !ok || busy.PID != os.Getpid() || busy.What != "sync of web" {
		t.Fatalf("got %v", err)
	}
	other, err := TakeLock(dir, "b2a92350-943c-43cd-a77f-3ab8c7bc4028", "sync of mail")
	if err != nil {
		t.Errorf("another domain: %v", err)
	}
	other.Release()
	first.Release()
	first.Release()
	second, err := TakeLock(dir, uuid, "x")
	if err != nil {
		t.Fatalf("after release: %v", err)
	}
	second.Release()
	(*Lock)(nil).Release()
}

func TestFrozenMarkIsSetAndTakenBack(t *testing.T) {
	dir := t.TempDir()
	look := func() bool {
		t.Helper()
		marked, err := MarkedFrozen(dir, "u")
		if err != nil {
			t.Fatal(err)
		}
		return marked
	}
	if look() {
		t.Error("marked before")
	}
	if err := MarkFrozen(dir, "u", "web"); err != nil {
		t.Fatal(err)
	}
	if !look() {
		t.Error("not marked")
	}
	for range 2 {
		if err := Unmark(dir, "u"); err != nil {
			t.Fatal(err)
		}
	}
	if look() {
		t.Error("still marked")
	}
}

func TestPendingCheckpointIsKeptInMind(t *testing.T) {
	dir, id := t.TempDir(), "11111111-2222-3333-4444-555555555555"
	pending := func(want string) {
		t.Helper()
		if got, err := Pending(dir, id); err != nil || got != want {
			t.Errorf("pending: %q, %v; want %q", got, err, want)
		}
	}
	pending("")
	if err := Unpend(dir, id); err != nil {
		t.Error(err)
	}
	const name = "vmsync-1f2e3d4c-12"
	if err := Pend(dir, id, name); err != nil {
		t.Fatal(err)
	}
	pending(name)
	pending(name)
	if err := Unpend(dir, id); err != nil {
		t.Error(err)
	}
	pending("")
	// Whatever else is there names nothing, and goes.
	for _, text := range []string{"", "vmsync-1f2e3d4c-12", "backup.1\n", "../../x\n", "vmsync-1f2e3d4c-1\n2\n"} {
		if err := os.WriteFile(filepath.Join(dir, "pending", id), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		pending("")
		if _, err := os.Lstat(filepath.Join(dir, "pending", id)); err == nil {
			t.Errorf("%q is still there", text)
		}
	}
}

func TestLongSocketPathIsRefused(t *testing.T) {
	path := string(make([]byte, 107))
	if err := CheckSocketPath(path); err != nil {
		t.Error(err)
	}
	if err := CheckSocketPath(path + "x"); err == nil {
		t.Error("108 bytes were accepted")
	}
}
