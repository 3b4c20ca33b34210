package export

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"vmsync/internal/event"
	"vmsync/internal/store"
	. "vmsync/internal/storetest"
	"vmsync/nbdproxy/nbdtest"
	"vmsync/replicator"
)

func TestMain(m *testing.M) { Main(m) }

const mib = 1 << 20

// replica makes two states of two disks.
func replica(t *testing.T) *Replica {
	t.Helper()
	r := New(t)
	r.Add(t, Changed("vda", 8*mib+512, Wrote(0, 4*mib, 1), Wrote(8*mib, 512, 7)), Changed("vdb", 4*mib, Wrote(mib, mib, 9)))
	r.Add(t, Changed("vda", 8*mib+512, Wrote(mib, mib, 2), Wrote(3*mib, 2*Block, 0)), Changed("vdb", 4*mib, Wrote(0, Block, 5)))
	r.Unlock(t)
	return r
}

// running is an export under way.
type running struct {
	t     *testing.T
	sink  *Sink
	end   context.CancelFunc
	ended chan struct{}
	err   error
	uris  map[string]string // by disk

	socket string
	dir    string // of the sockets of its programs
}

// begin begins an export; unless it says where, at a unix socket.
func begin(t *testing.T, r *Replica, req Request) *running {
	t.Helper()
	req.Store, req.Domain, req.program = r.Store, r.Domain, Program(t)
	if req.State == "" {
		req.State = store.Latest
	}
	if req.Unix == "" && req.TCP == "" {
		req.Unix = filepath.Join(nbdtest.Folder(t), "s")
	}
	ctx, cancel := context.WithCancel(t.Context())
	x := &running{t: t, sink: &Sink{}, end: cancel, ended: make(chan struct{}), uris: map[string]string{}, socket: req.Unix}
	go func() {
		defer close(x.ended)
		x.err = Serve(ctx, req, x.sink)
	}()
	t.Cleanup(func() {
		cancel()
		<-x.ended
		if _, err := os.Stat(x.dir); x.dir != "" && err == nil {
			t.Errorf("%s is left", x.dir)
		}
		if left, _ := os.ReadDir(r.Path("pins")); len(left) > 1 {
			t.Errorf("%d pins are left", len(left)-1)
		}
	})
	return x
}

// exported waits until clients can come.
func (x *running) exported() *running {
	x.t.Helper()
	for len(Of[event.Exported](x.sink)) == 0 {
		select {
		case <-x.ended:
			x.t.Fatalf("it ended: %v", x.err)
		case <-time.After(5 * time.Millisecond):
		}
	}
	for _, d := range Of[event.Exported](x.sink)[0].Disks {
		x.uris[d.Disk] = d.URI
	}
	_, line := child(x.t, "--socket=/var/tmp/vmsync-export-")
	_, after, _ := strings.Cut(line, "--socket=")
	socket, _, _ := strings.Cut(after, " ")
	x.dir = filepath.Dir(socket)
	return x
}

// stop ends it, as a signal does.
func (x *running) stop() error {
	x.t.Helper()
	x.end()
	nbdtest.Await(x.t, "the export's end", x.ended)
	return x.err
}

// reads is what a disk reads as through the export.
func (x *running) reads(disk string) []byte {
	x.t.Helper()
	raw := filepath.Join(x.t.TempDir(), "raw")
	nbdtest.Run(x.t, "nbdcopy", x.uris[disk], raw)
	b, err := os.ReadFile(raw)
	if err != nil {
		x.t.Fatal(err)
	}
	return b
}

// io runs qemu-io commands on an export.
func (x *running) io(disk string, commands ...string) (string, error) {
	argv := []string{"-f", "raw"}
	for _, c := range commands {
		argv = append(argv, "-c", c)
	}
	out, err := exec.Command("qemu-io", append(argv, x.uris[disk])...).CombinedOutput()
	return string(out), err
}

func (x *running) write(disk string, commands ...string) {
	x.t.Helper()
	if out, err := x.io(disk, commands...); err != nil || strings.Contains(out, "failed") {
		x.t.Fatalf("%v: %s", err, out)
	}
}

// untouched checks that every state reads as it did.
func untouched(t *testing.T, r *Replica) {
	t.Helper()
	for _, s := range r.Manifest(t).States {
		for _, d := range s.Disks {
			if !bytes.Equal(Raw(t, r.Path(d.Image), "qcow2"), r.Content[s.ID][d.Name]) {
				t.Errorf("disk %s of %s has changed", d.Name, s.ID)
			}
		}
	}
}

func TestEveryDiskOfEveryStateIsReadAsItIs(t *testing.T) {
	r := replica(t)
	for _, s := range r.Manifest(t).States {
		for _, req := range []Request{{}, {TCP: "127.0.0.1:0"}, {Disks: []string{"vdb", "vdb"}}} {
			req.State = s.ID
			x := begin(t, r, req).exported()
			if want := len(s.Disks); len(req.Disks) == 0 && len(x.uris) != want || len(req.Disks) > 0 && len(x.uris) != 1 {
				t.Fatalf("exports %q", x.uris)
			}
			for disk, uri := range x.uris {
				if !bytes.Equal(x.reads(disk), r.Content[s.ID][disk]) {
					t.Errorf("%s is not disk %s of %s", uri, disk, s.ID)
				}
				if out, err := x.io(disk, "write 0 512"); err == nil {
					t.Errorf("%s was written to: %s", uri, out)
				}
			}
			if info := nbdtest.Run(t, "nbdinfo", "--list", strings.TrimSuffix(x.uris["vdb"], "/vdb")); req.TCP != "" && !strings.Contains(info, "disk vdb of "+r.Domain+" at "+s.ID) {
				t.Errorf("%s", info)
			}
			if err := x.stop(); err != nil {
				t.Error(err)
			}
		}
	}
	untouched(t, r)
}

func TestHolesAreTold(t *testing.T) {
	r := replica(t)
	x := begin(t, r, Request{}).exported()
	out := nbdtest.Run(t, "nbdinfo", "--map", x.uris["vdb"])
	var got []string
	for line := range strings.Lines(out) {
		got = append(got, strings.Join(strings.Fields(line), " "))
	}
	if want := []string{"0 65536 0 data", "65536 983040 3 hole,zero", "1048576 1048576 0 data", "2097152 2097152 3 hole,zero"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

func TestWhatIsExportedCannotBeDeleted(t *testing.T) {
	r := replica(t)
	x := begin(t, r, Request{State: r.Manifest(t).States[0].ID}).exported()
	folder, err := store.LockExisting(r.Store, r.Domain)
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Unlock() //nolint:errcheck // nothing depends on it
	held, err := folder.Unlist(t.Context(), r.Manifest(t), r.Manifest(t).States[0].Generation)
	if err != nil || held.Err() == nil || !strings.Contains(held.Err().Error(), "export at /") {
		t.Errorf("held %v, error %v", held, err)
	}
	if err := x.stop(); err != nil {
		t.Error(err)
	}
	if held, err := folder.Pinned(t.Context()); err != nil || len(held) > 0 {
		t.Errorf("afterwards %v, error %v", held, err)
	}
}

func TestWhatIsWrittenIsSeenAndThrownAway(t *testing.T) {
	r := replica(t)
	id := r.Manifest(t).States[0].ID
	x := begin(t, r, Request{State: id, Writable: true}).exported()
	x.write("vda", "write -P 66 2M 1M", "write -z -u 0 64k", "discard 3M 64k", "write -f -P 67 8M 512", "flush")
	want := bytes.Clone(r.Content[id]["vda"])
	copy(want[2*mib:], bytes.Repeat([]byte{66}, mib))
	clear(want[:Block])
	clear(want[3*mib : 3*mib+Block])
	copy(want[8*mib:], bytes.Repeat([]byte{67}, 512))
	if !bytes.Equal(x.reads("vda"), want) || !bytes.Equal(x.reads("vdb"), r.Content[id]["vdb"]) {
		t.Error("the disks are not what was written to them")
	}
	if err := x.stop(); err != nil {
		t.Error(err)
	}
	untouched(t, r)
}

func TestAnExportWaitsForWhoeverChangesItsImages(t *testing.T) {
	r := replica(t)
	other := nbdtest.ServeImage(t, r.Path(r.Manifest(t).Head().Disks[0].Image))
	x := begin(t, r, Request{})
	time.Sleep(time.Second)
	if len(Of[event.Exported](x.sink)) > 0 {
		t.Fatal("it is exported while somebody may write to it")
	}
	other.Stop()
	x.exported()
}

func TestTheEndOfAProgramIsTold(t *testing.T) {
	r := replica(t)
	for name, c := range map[string]struct {
		mark  string
		sig   syscall.Signal
		disks []string
		disk  string
		words []string
	}{
		"a disk's server":           {"--export-name=vdb", syscall.SIGKILL, nil, "vdb", []string{"qemu-nbd", "signal 9"}},
		"the only server":           {"--export-name=vda", syscall.SIGKILL, []string{"vda"}, "vda", []string{"qemu-nbd", "signal 9"}},
		"a server, stopped":         {"--export-name=vda", syscall.SIGTERM, nil, "vda", []string{"qemu-nbd", "somebody stopped it"}},
		"the clients' server":       {" proxy --upstream", syscall.SIGKILL, nil, "", []string{"vmsync-nbd", "vda and vdb", "signal 9"}},
		"that of one disk":          {" proxy --upstream", syscall.SIGKILL, []string{"vdb"}, "vdb", []string{"vmsync-nbd", "signal 9"}},
		"the clients' one, stopped": {" proxy --upstream", syscall.SIGTERM, nil, "", []string{"vmsync-nbd", "somebody stopped it"}},
	} {
		keep := filepath.Join(t.TempDir(), "kept") + "/"
		x := begin(t, r, Request{Disks: c.disks, Writable: true, Keep: keep}).exported()
		signal(t, c.mark, c.sig)
		nbdtest.Await(t, "the end", x.ended)
		e := replicator.AsError(x.err)
		if e == nil || e.Kind != replicator.KindTarget || e.Disk != c.disk || e.Domain != r.Domain || e.Hint == "" {
			t.Fatalf("%s: %+v", name, e)
		}
		for _, w := range c.words {
			if !strings.Contains(e.Error(), w) {
				t.Errorf("%s: no %q in %v", name, w, e)
			}
		}
		if _, err := os.Lstat(x.socket); err == nil {
			t.Errorf("%s: the socket is left", name)
		}
		// What was written is kept all the same.
		if kept := Of[event.Kept](x.sink); len(kept) != 1 {
			t.Errorf("%s: kept %+v", name, kept)
		}
	}
}

// Who stops a service signals all its processes.
func TestAProgramThatIsStoppedWithTheExportIsNoFailure(t *testing.T) {
	r := replica(t)
	x := begin(t, r, Request{Writable: true, Keep: t.TempDir()}).exported()
	signal(t, "--export-name=vda", syscall.SIGTERM)
	signal(t, " proxy --upstream", syscall.SIGTERM)
	time.Sleep(lostSoon / 10)
	if err := x.stop(); err != nil {
		t.Error(err)
	}
	if kept := Of[event.Kept](x.sink); len(kept) != 1 || len(kept[0].Disks) != 2 {
		t.Errorf("kept %+v", kept)
	}
}

func TestWhatCannotBeExportedIsRefused(t *testing.T) {
	r := replica(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	dir := t.TempDir()
	file := filepath.Join(dir, "file.qcow2")
	if err := os.WriteFile(file, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	one := []string{"vda"}
	for name, c := range map[string]struct {
		req        Request
		kind, says string
	}{
		"unknown disk":           {Request{Disks: []string{"vdz"}}, replicator.KindNoDisk, "no such disk"},
		"unknown state":          {Request{State: "2001"}, replicator.KindNoState, "2001"},
		"no TLS":                 {Request{TCP: "0.0.0.0:0"}, replicator.KindListen, "refusing to listen on 0.0.0.0:0 without TLS"},
		"no certificates":        {Request{TCP: "127.0.0.1:0", TLS: "/nonexistent"}, replicator.KindListen, "/nonexistent/ca-cert.pem"},
		"port in use":            {Request{TCP: taken.Addr().String()}, replicator.KindListen, "address already in use"},
		"no socket":              {Request{Unix: file}, replicator.KindListen, "is no socket"},
		"no folder":              {Request{Unix: dir + "/no/s"}, replicator.KindListen, "no such file"},
		"keep without writing":   {Request{Disks: one, Keep: dir + "/new.qcow2"}, replicator.KindUsage, "not writable"},
		"keep over a file":       {Request{Disks: one, Writable: true, Keep: file}, replicator.KindUsage, file + " exists"},
		"keep two as one":        {Request{Writable: true, Keep: dir + "/new.qcow2"}, replicator.KindUsage, "--disk"},
		"keep as raw":            {Request{Disks: one, Writable: true, Keep: dir + "/new.img"}, replicator.KindUsage, "qcow2"},
		"keep nowhere":           {Request{Disks: one, Writable: true, Keep: dir + "/no/new.qcow2"}, replicator.KindUsage, "no folder"},
		"keep beneath the state": {Request{Disks: one, Writable: true, Keep: r.Path("disks/new.qcow2")}, replicator.KindUsage, "of the replica itself"},
	} {
		x := begin(t, r, c.req)
		nbdtest.Await(t, name, x.ended)
		if replicator.KindOf(x.err) != c.kind || !strings.Contains(x.err.Error(), c.says) || replicator.AsError(x.err).Advice() == "" {
			t.Errorf("%s: %v", name, x.err)
		}
		if len(Of[event.Exported](x.sink)) > 0 {
			t.Errorf("%s: it was exported", name)
		}
	}
	x := &running{}
	x.err = Serve(t.Context(), Request{Store: r.Store, Domain: "other", State: store.Latest, program: Program(t)}, &Sink{})
	if replicator.KindOf(x.err) != replicator.KindNoReplica {
		t.Error(x.err)
	}
	entries, _ := os.ReadDir(dir)
	if b, _ := os.ReadFile(file); len(entries) != 1 || string(b) != "mine" {
		t.Errorf("%v and %q are left", entries, b)
	}
}

func TestADamagedDiskIsRefusedAndAnotherOneIsNot(t *testing.T) {
	r := replica(t)
	r.Change(t, func(m *store.Manifest) {
		m.Image(m.Head().Disks[0].Image).Damaged = "2 blocks not as received"
	})
	x := begin(t, r, Request{})
	nbdtest.Await(t, "the refusal", x.ended)
	e := replicator.AsError(x.err)
	if e == nil || e.Kind != replicator.KindDamaged || e.Disk != "vda" || !strings.Contains(e.Error(), "2 blocks not as received") {
		t.Errorf("%v", x.err)
	}
	for _, req := range []Request{{Disks: []string{"vdb"}}, {State: r.Manifest(t).States[0].ID}} {
		if err := begin(t, r, req).exported().stop(); err != nil {
			t.Error(err)
		}
	}
}

func TestAnEndBeforeItBeganIsAnEnd(t *testing.T) {
	r := replica(t)
	x := begin(t, r, Request{Writable: true, Keep: t.TempDir()})
	x.end()
	nbdtest.Await(t, "the end", x.ended)
	if x.err != nil && !errors.Is(x.err, context.Canceled) {
		t.Error(x.err)
	}
}
