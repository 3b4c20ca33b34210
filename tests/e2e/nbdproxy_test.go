package e2e

import (
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"vmsync/tests/lab"
)

// patchyMachine makes a machine with a disk that has noise, zeros, holes and scattered
// small changes, of which the checkpoint cp1 was taken half way.
func patchyMachine(t *testing.T) *lab.Machine {
	t.Helper()
	m := machine(t, qcow2("vda", 128*mib), qcow2("vdb", 32*mib+512))
	randomData(t, m, "vda", 0, 16*mib)
	dirty(t, m, "vda", 40*mib, 8*mib, 0x11)
	dirty(t, m, "vdb", 32*mib, 512, 0x22)
	_, end := pullBackup(t, m, "cp1", "")
	end()
	randomData(t, m, "vda", 64*mib, 4*mib)
	for i := range int64(20) {
		dirty(t, m, "vda", 80*mib+i*mib, 4096, int(i)+1)
	}
	dirty(t, m, "vda", 41*mib, mib, lab.Zero)
	dirty(t, m, "vda", 43*mib, mib, lab.Discard)
	return m
}

// unixURI leads to an export on a unix socket.
func unixURI(socket, export string) string { return "nbd+unix:///" + export + "?socket=" + socket }

// incrementalProxy begins an incremental backup of a machine and serves it on, at a
// unix socket and at an address of hosta's loopback interface. The machine goes on
// changing.
func incrementalProxy(t *testing.T, m *lab.Machine) (direct string, p *proxy, proxied []string) {
	t.Helper()
	direct, _ = pullBackup(t, m, "cp2", "cp1")
	socket := nbdDir + "/proxy.sock"
	p = startProxy(t, hosta, "--unix", socket, "--listen", "127.0.0.1:0",
		"--upstream", unixURI(direct, "vda"), "--bitmap", "backup-vda",
		"--upstream", unixURI(direct, "vdb"), "--bitmap", "backup-vdb")
	dirty(t, m, "vda", 0, 32*mib, 0x77)
	address, ok := strings.CutPrefix(strings.TrimSpace(p.said), "listening on "+socket+" and ")
	if !ok {
		t.Fatalf("the proxy said %q", p.said)
	}
	return direct, p, []string{unixURI(socket, "vda"), "nbd://" + address + "/vda"}
}

func TestProxySaysWhatLibvirtsExportIs(t *testing.T) {
	m := patchyMachine(t)
	_, p, proxied := incrementalProxy(t, m)
	for _, uri := range proxied {
		var list struct {
			Structured bool
			Exports    []struct {
				Name      string   `json:"export-name"`
				ReadOnly  bool     `json:"is_read_only"`
				MultiConn bool     `json:"can_multi_conn"`
				DF        bool     `json:"can_df"`
				Cache     bool     `json:"can_cache"`
				Flush     bool     `json:"can_flush"`
				Trim      bool     `json:"can_trim"`
				Zero      bool     `json:"can_zero"`
				Size      int64    `json:"export-size"`
				Maximum   int64    `json:"block_size_maximum"`
				Contexts  []string `json:"contexts"`
			}
		}
		if err := json.Unmarshal([]byte(host(t, hosta, "nbdinfo", "--json", "--list", uri)), &list); err != nil {
			t.Fatal(err)
		}
		if !list.Structured || len(list.Exports) != 2 {
			t.Fatalf("%+v", list)
		}
		for i, want := range []struct {
			name string
			size int64
		}{{"vda", 128 * mib}, {"vdb", 32*mib + 512}} {
			x := list.Exports[i]
			if x.Name != want.name || x.Size != want.size || !x.ReadOnly || !x.MultiConn || !x.DF || !x.Cache || !x.Flush || x.Trim || x.Zero || x.Maximum != 32*mib {
				t.Errorf("%+v", x)
			}
			if !slices.Equal(x.Contexts, []string{"base:allocation", "qemu:dirty-bitmap:backup-" + want.name}) {
				t.Errorf("contexts %q", x.Contexts)
			}
		}
	}
	p.stop()
}

func TestMapsThroughTheProxyAreLibvirts(t *testing.T) {
	m := patchyMachine(t)
	socket, p, proxied := incrementalProxy(t, m)
	for _, context := range []string{"base:allocation", "qemu:dirty-bitmap:backup-vda"} {
		want := nbdMap(t, hosta, unixURI(socket, "vda"), context)
		if len(want) < 20 {
			t.Fatalf("%s: the machine's disk is too plain for this test: %v", context, want)
		}
		for _, uri := range proxied {
			if got := nbdMap(t, hosta, uri, context); !slices.Equal(got, want) {
				t.Errorf("%s of %s: %v\nwant %v", context, uri, got, want)
			}
		}
	}
	for _, bitmap := range []string{"", ",x-dirty-bitmap=qemu:dirty-bitmap:backup-vda"} {
		image := func(socket string) string {
			return "driver=nbd,export=vda,server.type=unix,server.path=" + socket + bitmap
		}
		if got, want := imgMap(t, hosta, image(nbdDir+"/proxy.sock")), imgMap(t, hosta, image(socket)); len(want) < 20 || !slices.Equal(got, want) {
			t.Errorf("qemu-img map%s: %v\nwant %v", bitmap, got, want)
		}
	}
	p.stop()
}

func TestReadersThroughTheProxyGetEveryByte(t *testing.T) {
	m := patchyMachine(t)
	socket, p, proxied := incrementalProxy(t, m)
	direct := unixURI(socket, "vda")
	const copied = "/var/tmp/nbd-copy"
	host(t, hosta, "nbdcopy", direct, copied)
	want := sum(t, hosta, copied)
	for _, uri := range proxied {
		host(t, hosta, "nbdcopy", uri, copied)
		if got := sum(t, hosta, copied); got != want {
			t.Errorf("nbdcopy %s: %s, want %s", uri, got, want)
		}
		host(t, hosta, "qemu-img", "convert", "-f", "raw", "-O", "raw", "-W", "-m", "16", uri, copied)
		if got := sum(t, hosta, copied); got != want {
			t.Errorf("qemu-img convert %s: %s, want %s", uri, got, want)
		}
		host(t, hosta, "qemu-img", "compare", "-f", "raw", "-F", "raw", direct, uri)
		host(t, hosta, "qemu-io", "-r", "-f", "raw", "-c", "read -P 0x11 40M 1M", "-c", "read -P 0 41M 1M", "-c", "read -P 5 84M 4k",
			"-c", "aio_read -P 0x11 45M 64k", "-c", "aio_read -P 0 43M 1M", "-c", "aio_flush", uri)
	}
	// A disk whose size is no multiple of anything, whole and in small pieces.
	direct, through := unixURI(socket, "vdb"), unixURI(nbdDir+"/proxy.sock", "vdb")
	host(t, hosta, "qemu-img", "compare", "-f", "raw", "-F", "raw", direct, through)
	host(t, hosta, "nbdcopy", direct, copied)
	want = sum(t, hosta, copied)
	host(t, hosta, "nbdcopy", "--synchronous", "--connections=1", "--request-size=4096", "--no-extents", through, copied)
	if got := sum(t, hosta, copied); got != want {
		t.Errorf("nbdcopy of small pieces: %s, want %s", got, want)
	}
	p.stop()
}

func TestProxyOfAFullBackupHasNoBitmap(t *testing.T) {
	m := patchyMachine(t)
	socket, _ := pullBackup(t, m, "cp2", "")
	if said := refuses(t, hosta, binDir+"vmsync-nbd", "proxy", "--unix", nbdDir+"/p.sock", "--upstream", unixURI(socket, "vda"), "--bitmap", "backup-vda"); !strings.Contains(said, "qemu:dirty-bitmap:backup-vda") {
		t.Errorf("a bitmap that is not there: %s", said)
	}
	p := startProxy(t, hosta, "--unix", nbdDir+"/p.sock", "--upstream", unixURI(socket, "vda"))
	uri := unixURI(nbdDir+"/p.sock", "vda")
	if info := host(t, hosta, "nbdinfo", uri); !strings.Contains(info, "base:allocation") || strings.Contains(info, "qemu:") {
		t.Errorf("contexts: %s", info)
	}
	host(t, hosta, "qemu-img", "compare", "-f", "raw", "-F", "raw", unixURI(socket, "vda"), uri)
	p.stop()
}

func TestProxyRefusesToWrite(t *testing.T) {
	m := patchyMachine(t)
	_, p, proxied := incrementalProxy(t, m)
	for _, uri := range proxied {
		if said := refuses(t, hosta, "qemu-io", "-f", "raw", "-c", "write 0 512", uri); !strings.Contains(said, "Permission denied") {
			t.Errorf("write: %s", said)
		}
		refuses(t, hosta, "nbdcopy", "/dev/zero", uri)
	}
	p.stop()
}

// bluntClient is what nbdsh is to do: it speaks the protocol without the manners of the
// other clients.
const bluntClient = `
import errno, nbd
h = nbd.NBD()
h.add_meta_context("base:allocation")
h.add_meta_context("qemu:dirty-bitmap:backup-vda")
h.connect_uri("URI")
h.set_strict_mode(0)
def refused(f, want):
    try:
        f()
    except nbd.Error as e:
        assert e.errnum == want, e
        return
    assert False, "it was not refused"
refused(lambda: h.pwrite(b"x" * 512, 0), errno.EPERM)
refused(lambda: h.zero(512, 0), errno.EPERM)
refused(lambda: h.trim(512, 0), errno.EPERM)
refused(lambda: h.pread(512, 128 << 20), errno.EINVAL)
assert h.pread(4096, 84 << 20) == b"\x05" * 4096
assert h.pread(1, (41 << 20) - 1) == b"\x11"
assert h.get_size() == 128 << 20 and h.is_read_only()
seen = {}
h.block_status(64 << 20, 64 << 20, lambda context, offset, entries, err: seen.__setitem__(context, entries))
assert set(seen) == {"base:allocation", "qemu:dirty-bitmap:backup-vda"}, seen
assert all(len(e) > 40 for e in seen.values()), seen
bufs = [nbd.Buffer(65536) for _ in range(100)]
cookies = [h.aio_pread(b, i * 65536 + (40 << 20)) for i, b in enumerate(bufs)]
for i, c in reversed(list(enumerate(cookies))):
    while not h.aio_command_completed(c):
        h.poll(-1)
    want = b"\0" if 16 <= i < 32 or 48 <= i < 64 else b"\x11"
    assert bufs[i].to_bytearray() == want * 65536, i
h.cache(1 << 20, 0)
h.flush()
h.shutdown()
`

func TestBluntClientIsAnswered(t *testing.T) {
	if _, err := exec.LookPath("nbdsh"); err != nil {
		t.Skip("this test needs nbdsh (package python3-libnbd)")
	}
	m := patchyMachine(t)
	_, p, proxied := incrementalProxy(t, m)
	for _, uri := range proxied {
		host(t, hosta, "nbdsh", "-c", strings.ReplaceAll(bluntClient, "URI", uri))
	}
	p.stop()
}

func TestProxyEndsWithItsServer(t *testing.T) {
	m := patchyMachine(t)
	socket, p, proxied := incrementalProxy(t, m)
	client := hosta.Command(t.Context(), "sh", "-c", "while nbdcopy '"+proxied[0]+"' null:; do :; done")
	if err := client.Start(); err != nil {
		t.Fatal(err)
	}
	pids, err := hosta.Pids(t.Context(), "guest="+m.Name())
	if err != nil || len(pids) != 1 {
		t.Fatalf("qemu's processes: %v, error %v", pids, err)
	}
	if err := hosta.Kill(t.Context(), pids[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = client.Wait() // it got an error, not other bytes and not silence
	code, stderr := p.wait()
	if code != 1 || !strings.Contains(stderr, socket) || !strings.Contains(stderr, "gone") {
		t.Errorf("exit status %d: %s", code, stderr)
	}
	if left := host(t, hosta, "ls", nbdDir); strings.Contains(left, "proxy.sock") {
		t.Errorf("left behind: %s", left)
	}
}
