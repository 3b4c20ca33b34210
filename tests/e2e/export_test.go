package e2e

import (
	"bufio"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	gosync "sync"
	"syscall"
	"testing"

	"vmsync/tests/lab"
)

// exporting is a running `vmsync export` on hostb.
type exporting struct {
	t    *testing.T
	cmd  *exec.Cmd
	uris map[string]string // by disk

	mu     gosync.Mutex
	events []exportEvent
	read   chan struct{} // closed when its stdout has ended
}

type exportEvent struct {
	Event, State, Message, Kind, Domain, Disk, Hint string
	Writable                                        bool
	Disks                                           []struct {
		Disk, URI, Path string
		Size            int64 `json:"size_bytes"`
	}
}

// beginExport starts an export and reads what it says; exports waits until it serves.
func beginExport(t *testing.T, args ...string) *exporting {
	t.Helper()
	x := &exporting{t: t, uris: map[string]string{}, read: make(chan struct{})}
	x.cmd = hostb.Command(t.Context(), append([]string{binDir + "vmsync", "export", "--json"}, args...)...)
	out, err := x.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := x.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(x.read)
		for in := bufio.NewScanner(out); in.Scan(); {
			var e exportEvent
			if err := json.Unmarshal(in.Bytes(), &e); err != nil {
				e.Message = "not JSON: " + in.Text()
			}
			x.mu.Lock()
			x.events = append(x.events, e)
			x.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		if x.cmd.ProcessState == nil {
			_ = hostb.Signal(x.cmd, syscall.SIGKILL)
			_ = x.cmd.Wait()
		}
	})
	return x
}

// find returns the last event of a name.
func (x *exporting) find(name string) (found exportEvent, ok bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, e := range x.events {
		if e.Event == name {
			found, ok = e, true
		}
	}
	return found, ok
}

func exports(t *testing.T, args ...string) *exporting {
	t.Helper()
	x := beginExport(t, args...)
	eventually(t, "it is exported", func() bool {
		select {
		case <-x.read:
			t.Fatalf("it ended: %+v", x.events)
		default:
		}
		_, ok := x.find("exported")
		return ok
	})
	e, _ := x.find("exported")
	for _, d := range e.Disks {
		x.uris[d.Disk] = d.URI
	}
	return x
}

// wait waits for its end and returns its exit code.
func (x *exporting) wait() int {
	x.t.Helper()
	<-x.read
	_ = x.cmd.Wait()
	return x.cmd.ProcessState.ExitCode()
}

// stop ends it as a user does, and checks that all went well.
func (x *exporting) stop() {
	x.t.Helper()
	if err := hostb.Signal(x.cmd, syscall.SIGINT); err != nil {
		x.t.Fatal(err)
	}
	if code := x.wait(); code != 0 {
		e, _ := x.find("error")
		x.t.Fatalf("exit code %d: %+v", code, e)
	}
}

// fails checks how it ended.
func (x *exporting) fails(code int, kind, disk string, words ...string) {
	x.t.Helper()
	got := x.wait()
	e, _ := x.find("error")
	if got != code || e.Kind != kind || e.Disk != disk || e.Hint == "" {
		x.t.Errorf("exit code %d, %+v; want %d, %s, disk %q", got, e, code, kind, disk)
	}
	for _, w := range words {
		if !strings.Contains(e.Message, w) {
			x.t.Errorf("no %q in %+v", w, e)
		}
	}
}

// readsAs checks that a disk reads through the export, on a host, as a raw file of the machine.
func (x *exporting) readsAs(on *lab.Host, disk, truth string) {
	x.t.Helper()
	const copied = "/var/tmp/exported.qcow2"
	host(x.t, on, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", x.uris[disk], copied)
	identical(x.t, "raw", truth, on.Path(copied))
	host(x.t, on, "rm", copied)
}

// exportsLeftNothing checks that no export has left anything on hostb.
func exportsLeftNothing(t *testing.T, m *lab.Machine, socket string) {
	t.Helper()
	nothingLeft(t, m)
	if exists(t, hostb, socket) {
		t.Errorf("%s is left", socket)
	}
	if pins := listDir(t, hostb, storeDir+"/"+m.Name()+"/pins"); len(pins) > 1 {
		t.Errorf("pins %q are left", pins)
	}
}

const exportSocket = "/run/exported.sock"

// TestExportedStateIsReadWhileTheReplicaGoesOn exports the first of several states.
func TestExportedStateIsReadWhileTheReplicaGoesOn(t *testing.T) {
	m := machine(t, qcow2("vda", 96*mib), qcow2("vdb", 32*mib+512))
	randomData(t, m, "vda", 0, 8*mib)
	dirty(t, m, "vdb", 32*mib, 512, 3)
	truths := map[string]string{"vda": copyOf(t, m, "vda"), "vdb": copyOf(t, m, "vdb")}
	old := sync(t, m.Name(), "--keep", "5")
	dirty(t, m, "vda", 4*mib, 24*mib, 1)
	dirty(t, m, "vda", 6*mib, mib, lab.Zero)
	sync(t, m.Name())
	address := m.Name() + "@" + old.State

	x := exports(t, address, "--unix", exportSocket)
	for disk, truth := range truths {
		if want := "nbd+unix:///" + disk + "?socket=" + exportSocket; x.uris[disk] != want {
			t.Errorf("%s, want %s", x.uris[disk], want)
		}
		x.readsAs(hostb, disk, truth)
		if said := refuses(t, hostb, "qemu-io", "-f", "raw", "-c", "write 0 512", x.uris[disk]); !strings.Contains(said, "Permission denied") && !strings.Contains(said, "read-only") {
			t.Errorf("write: %s", said)
		}
	}
	if holes := host(t, hostb, "nbdinfo", "--map", x.uris["vda"]); !strings.Contains(holes, "hole,zero") || strings.Count(holes, "\n") > 20 {
		t.Errorf("%s", holes)
	}
	if info := host(t, hostb, "nbdinfo", "nbd+unix:///?socket="+exportSocket); !strings.Contains(info, "export-size: 100663296") || !strings.Contains(info, "is_read_only: true") {
		t.Errorf("the default export: %s", info)
	}
	// Syncs go on, and whoever wants to delete the state is told.
	admins(t, "states", "delete", address).exits(t, 1, "in use by export at "+exportSocket, "nothing was deleted")
	admins(t, "prune", m.Name(), "--keep", "1").ok(t, "in use by export at "+exportSocket)
	dirty(t, m, "vda", 60*mib, mib, 9)
	sync(t, m.Name())
	sameAsSource(t, m, "vda", "vdb")
	if states := manifest(t, m.Name()).States; len(states) < 2 || states[0].ID != old.State {
		t.Fatalf("the exported state is not listed any more: %+v", states)
	}
	for disk, truth := range truths {
		x.readsAs(hostb, disk, truth)
	}
	x.stop()
	exportsLeftNothing(t, m, exportSocket)
	admins(t, "states", "delete", address).ok(t)
	sameAsSource(t, m, "vda", "vdb")

	// What the replica writes while it runs is in its run overlay and not in the state.
	truth := copyOf(t, m, "vda")
	replica := hostb.Machine(m.Name())
	if err := replica.StartPaused(t.Context()); err != nil {
		t.Fatal(err)
	}
	dirty(t, replica, "vda", 0, 8*mib, 0x55)
	x = exports(t, m.Name(), "--unix", exportSocket)
	x.readsAs(hostb, "vda", truth)
	x.stop()
	if err := replica.Destroy(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestWritableExportLeavesTheStateAlone writes to an export, once to throw it away, once
// to keep it, and once to be killed.
func TestWritableExportLeavesTheStateAlone(t *testing.T) {
	const kept = "/srv/kept.qcow2"
	m := machine(t, qcow2("vda", 64*mib))
	randomData(t, m, "vda", 0, 8*mib)
	truth := copyOf(t, m, "vda")
	sync(t, m.Name(), "--keep", "3")
	t.Cleanup(func() {
		ctx, cancel := cleanupContext()
		defer cancel()
		if _, err := hostb.Run(ctx, "rm", "-f", kept, exportSocket); err != nil {
			t.Error(err)
		}
	})
	write := func(target string) {
		t.Helper()
		said := host(t, hostb, "qemu-io", "-f", "raw", "-c", "write -P 66 2M 3M", "-c", "write -z 5M 1M", "-c", "discard 7M 512k",
			"-c", "write -P 7 40M 12345", "-c", "flush", target)
		if strings.Contains(said, "failed") {
			t.Fatal(said)
		}
	}
	edited := filepath.Join(t.TempDir(), "edited.raw")
	if out, err := exec.CommandContext(t.Context(), "cp", "--sparse=always", truth, edited).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if out, err := exec.CommandContext(t.Context(), "qemu-io", "-f", "raw", "-c", "write -P 66 2M 3M", "-c", "write -z 5M 1M", "-c", "write -z 7M 512k", "-c", "write -P 7 40M 12345", edited).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}

	x := exports(t, m.Name(), "--unix", exportSocket, "--writable")
	write(x.uris["vda"])
	x.readsAs(hostb, "vda", edited)
	x.stop()
	exportsLeftNothing(t, m, exportSocket)

	x = exports(t, m.Name(), "--unix", exportSocket, "--writable", "--keep-overlay", kept)
	x.readsAs(hostb, "vda", truth)
	write(x.uris["vda"])
	x.stop()
	exportsLeftNothing(t, m, exportSocket)
	if info := host(t, hostb, "qemu-img", "info", kept); strings.Contains(info, "backing file") {
		t.Errorf("%s", info)
	}
	identical(t, "raw", edited, hostb.Path(kept))
	beginExport(t, m.Name(), "--unix", exportSocket, "--writable", "--keep-overlay", kept).fails(2, "usage", "", kept+" exists")

	// Killed, it leaves a socket, an overlay and a pin that nobody uses; the next one removes
	// them.
	x = exports(t, m.Name(), "--unix", exportSocket, "--writable")
	write(x.uris["vda"])
	if err := hostb.Signal(x.cmd, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	x.wait()
	eventually(t, "its programs have ended", func() bool { return len(strayProcesses(t)) == 0 })
	x = exports(t, m.Name(), "--unix", exportSocket)
	x.readsAs(hostb, "vda", truth)
	x.stop()
	if o := verify(t, m.Name(), "--all"); o.code != 0 {
		t.Errorf("exit code %d: %+v", o.code, o.find("error"))
	}
	exportsLeftNothing(t, m, exportSocket)
	sameAsSource(t, m, "vda")
}

// TestJournalIsReplayedOverAWritableExport mounts the file system of a guest that was not
// frozen, read-only. The kernel wants to replay its journal first.
func TestJournalIsReplayedOverAWritableExport(t *testing.T) {
	const dir = "/run/exported"
	m := guest(t, qcow2("vda", 256*mib))
	inGuest(t, m, "sh", "-c", "echo one > /mnt/vda/one; sync")
	if err := m.Pause(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := sync(t, m.Name()); s.Consistency != "crash" {
		t.Fatalf("%+v", s)
	}
	mount := `set -e
		mkdir -p ` + dir + `/nbd ` + dir + `/mnt
		trap 'umount ` + dir + `/mnt 2>/dev/null || true; [ -z "$loop" ] || losetup -d "$loop"; fusermount3 -u ` + dir + `/nbd || fusermount -u ` + dir + `/nbd; rm -rf --one-file-system ` + dir + `' EXIT
		nbdfuse ` + dir + `/nbd "$1" &
		for i in $(seq 100); do [ -e ` + dir + `/nbd/nbd ] && break; sleep 0.1; done
		loop=$(losetup -f --show $2 ` + dir + `/nbd/nbd)
		mount -o ro "$loop" ` + dir + `/mnt
		cat ` + dir + `/mnt/one`
	x := exports(t, m.Name(), "--unix", exportSocket)
	if said := refuses(t, hostb, "bash", "-c", mount, "mount", x.uris["vda"], "-r"); !strings.Contains(said, "read-only") {
		t.Errorf("%s", said)
	}
	x.stop()
	x = exports(t, m.Name(), "--unix", exportSocket, "--writable")
	if said := host(t, hostb, "bash", "-c", mount, "mount", x.uris["vda"], ""); said != "one\n" {
		t.Errorf("%q", said)
	}
	x.stop()
	exportsLeftNothing(t, m, exportSocket)
	if o := verify(t, m.Name()); o.code != 0 {
		t.Errorf("exit code %d: %+v", o.code, o.find("error"))
	}
}

// TestExportOverTheNetworkIsForThoseWithACertificate reads on hosta what hostb keeps.
func TestExportOverTheNetworkIsForThoseWithACertificate(t *testing.T) {
	const dir = "/etc/export-pki"
	m := machine(t, qcow2("vda", 64*mib))
	randomData(t, m, "vda", 0, 4*mib)
	truth := copyOf(t, m, "vda")
	sync(t, m.Name())
	authorityFor(t, hostb, dir, hostb, hosta)
	hand(t, hostb, dir, hosta, "/root/export-pki", "ca-cert.pem", "client-cert.pem", "client-key.pem")
	address := hostb.Addr() + ":10810"
	beginExport(t, m.Name(), "--listen", address).fails(1, "listen", "", "refusing to listen on "+address+" without TLS")
	x := exports(t, m.Name(), "--listen", address, "--tls-certificates", dir, "--tls-client", "hosta")
	if want := "nbds://" + address + "/vda"; x.uris["vda"] != want {
		t.Errorf("%s, want %s", x.uris["vda"], want)
	}
	beginExport(t, m.Name(), "--listen", address, "--tls-certificates", dir).fails(1, "listen", "", "address already in use")
	uri := x.uris["vda"] + "?tls-certificates=/root/export-pki"
	host(t, hosta, "nbdcopy", uri, "/var/tmp/exported.raw")
	if out, err := exec.CommandContext(t.Context(), "cmp", truth, hosta.Path("/var/tmp/exported.raw")).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	refuses(t, hosta, "nbdinfo", x.uris["vda"])
	refuses(t, hosta, "nbdinfo", strings.Replace(x.uris["vda"], "nbds:", "nbd:", 1))
	x.stop()
	exportsLeftNothing(t, m, "/nonexistent")
}

// TestExportThatCannotGoOnSaysWhy meets what is not there, what is damaged, and the end of
// its programs.
func TestExportThatCannotGoOnSaysWhy(t *testing.T) {
	m := machine(t, qcow2("vda", 64*mib), qcow2("vdb", 16*mib))
	dirty(t, m, "vda", 0, 4*mib, 1)
	first := sync(t, m.Name(), "--keep", "3")
	dirty(t, m, "vda", 2*mib, 4*mib, 2)
	sync(t, m.Name())
	at := []string{"--unix", exportSocket}
	beginExport(t, append(at, m.Name(), "--disk", "vdz")...).fails(1, "no-disk", "vdz")
	beginExport(t, append(at, "nobody")...).fails(1, "no-replica", "")
	beginExport(t, append(at, m.Name()+"@2001")...).fails(1, "no-state", "")

	for disk, of := range map[string]struct{ program, mark string }{"vdb": {"qemu-nbd", "--export-name=vdb"}, "": {"vmsync-nbd", "vmsync-nbd proxy"}} {
		x := exports(t, append(at, m.Name(), "--writable")...)
		pids, err := hostb.Pids(t.Context(), of.mark)
		if err != nil || len(pids) != 1 {
			t.Fatalf("%s: processes %v, error %v", of.program, pids, err)
		}
		if err := hostb.Kill(t.Context(), pids[0], syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		x.fails(1, "target", disk, of.program, "signal 9")
		exportsLeftNothing(t, m, exportSocket)
	}

	behindItsBack(t, m.Name(), head(t, m.Name()).Disks[0].Image, "write -P 77 3M 512")
	if o := verify(t, m.Name()); o.code != 1 {
		t.Fatalf("exit code %d", o.code)
	}
	beginExport(t, append(at, m.Name())...).fails(1, "damaged", "vda", "is damaged")
	x := exports(t, append(at, m.Name()+"@"+first.State)...)
	x.stop()
	exportsLeftNothing(t, m, exportSocket)
}
