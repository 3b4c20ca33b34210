package session_test

import (
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"vmsync/nbdproxy/session"
	"vmsync/nbdproxy/spec"
)

// nbdDocument describes two disks, the second incremental, to be offered to NBD
// clients alone.
func nbdDocument(l *lab) spec.Serve {
	l.t.Helper()
	first := l.image("a", 4*mib, "write -P 1 1M 1M")
	second := l.image("b", 8*mib, "write -P 2 2M 1M")
	l.run("qemu-img", "bitmap", "--add", "-f", "qcow2", second, "changes")
	l.io(second, "write -P 3 3M 64k")
	return spec.Serve{
		Version: spec.Version, Domain: "vm1", Checkpoint: "cp2", Parent: "cp1", NBD: &spec.NBD{Unix: l.path("nbd"), TCP: "127.0.0.1:0"},
		Disks: []spec.ServeDisk{
			{Name: "vda", Socket: l.nbd(first, "-r", "-e", "32").socket, Export: "disk", Size: 4 * mib},
			{Name: "vdb", Socket: l.nbd(second, "-r", "-e", "32", "-B", "changes").socket, Export: "disk", Bitmap: "changes", Size: 8 * mib},
		},
	}
}

func nbdURI(address, export string) string {
	if _, _, err := net.SplitHostPort(address); err == nil {
		return "nbd://" + address + "/" + export
	}
	return "nbd+unix:///" + export + "?socket=" + address
}

func TestExportsAreOfferedToNBDClients(t *testing.T) {
	l := newLab(t)
	doc := nbdDocument(l)
	p := start(t, session.Serve, doc)
	addresses := p.awaitReady().NBD
	if len(addresses) != 2 || addresses[0] != doc.NBD.Unix {
		t.Fatalf("listening on %q", addresses)
	}
	for _, a := range addresses {
		var list struct {
			Exports []struct {
				Name        string   `json:"export-name"`
				Description string   `json:"description"`
				ReadOnly    bool     `json:"is_read_only"`
				Size        int64    `json:"export-size"`
				Contexts    []string `json:"contexts"`
			}
		}
		if err := json.Unmarshal([]byte(l.run("nbdinfo", "--json", "--list", nbdURI(a, ""))), &list); err != nil {
			t.Fatal(err)
		}
		if len(list.Exports) != 2 {
			t.Fatalf("exports %+v", list)
		}
		for i, x := range list.Exports {
			if d := doc.Disks[i]; x.Name != d.Name || x.Size != d.Size || !x.ReadOnly ||
				!strings.Contains(x.Description, "vm1") || !strings.Contains(x.Description, "cp2") || strings.Contains(x.Description, "cp1") != (d.Bitmap != "") {
				t.Errorf("export %+v", x)
			}
		}
		if c := strings.Join(list.Exports[1].Contexts, " "); c != "base:allocation qemu:dirty-bitmap:changes" {
			t.Errorf("contexts %s", c)
		}
		for i, image := range []string{"a", "b"} {
			copied := l.path("copy")
			l.run("nbdcopy", nbdURI(a, doc.Disks[i].Name), copied)
			l.run("qemu-img", "compare", "-U", "-f", "qcow2", "-F", "raw", l.path(image), copied)
		}
		if out, err := exec.Command("qemu-io", "-f", "raw", "-c", "write 0 512", nbdURI(a, "vda")).CombinedOutput(); err == nil {
			t.Errorf("a write was taken: %s", out)
		}
	}
	_ = p.stdin.Close()
	if ev := p.done(); len(ev.Disks) != 0 {
		t.Errorf("disks in the result: %+v", ev.Disks)
	}
	if _, err := os.Lstat(doc.NBD.Unix); !os.IsNotExist(err) {
		t.Errorf("the socket stays: %v", err)
	}
}

func TestNBDServerLivesAsLongAsTheStream(t *testing.T) {
	l := newLab(t)
	doc := nbdDocument(l)
	doc.Listen = l.path("listen")
	p := start(t, session.Serve, doc)
	if a := p.awaitReady().NBD; len(a) != 2 {
		t.Fatalf("listening on %q", a)
	}
	uri := nbdURI(doc.NBD.Unix, "vdb")
	if size := strings.TrimSpace(l.run("nbdinfo", "--size", uri)); size != "8388608" {
		t.Errorf("size %s", size)
	}
	c := dial(t, doc.Listen)
	if _, err := c.Read(make([]byte, 8)); err != nil {
		t.Fatal(err)
	}
	l.run("nbdcopy", uri, "null:") // while the stream is under way
	drain(t, c)
	p.done()
	if out, err := exec.Command("nbdinfo", "--size", uri).CombinedOutput(); err == nil {
		t.Errorf("still served after the stream: %s", out)
	}
}

func TestImpossibleNBDServerIsRefused(t *testing.T) {
	for name, nbd := range map[string]spec.NBD{
		"no address":             {},
		"relative path":          {Unix: "nbd"},
		"network without TLS":    {TCP: "0.0.0.0:0"},
		"no certificates":        {TCP: "127.0.0.1:0", TLS: "/nonexistent"},
		"relative folder":        {TCP: "127.0.0.1:0", TLS: "pki"},
		"TLS without an address": {Unix: "/run/x", TLS: "/nonexistent"},
		"clients without TLS":    {TCP: "127.0.0.1:0", Clients: []string{"hosta"}},
	} {
		t.Run(name, func(t *testing.T) {
			doc := nbdDocument(newLab(t))
			doc.NBD = &nbd
			start(t, session.Serve, doc).failed(spec.KindSpec, "")
		})
	}
}

func TestLostExportsEndAnNBDSession(t *testing.T) {
	l := newLab(t)
	s := l.source(l.image("src", mib), "")
	doc := spec.Serve{
		Version: spec.Version, Domain: "d", Checkpoint: "c", NBD: &spec.NBD{Unix: l.path("nbd")},
		Disks: []spec.ServeDisk{{Name: "vda", Socket: s.socket, Export: "disk", Size: mib}},
	}
	p := start(t, session.Serve, doc)
	p.awaitReady()
	s.kill()
	p.failed(spec.KindExport, "vda")
}

func TestStoppedNBDSessionSaysSo(t *testing.T) {
	l := newLab(t)
	p := start(t, session.Serve, nbdDocument(l))
	p.awaitReady()
	p.cancel() // as a signal does
	p.failed(spec.KindStopped, "")
}

// drain reads what is left of a stream.
func drain(t *testing.T, c *net.UnixConn) {
	t.Helper()
	b := make([]byte, 64<<10)
	for {
		if _, err := c.Read(b); err != nil {
			break
		}
	}
	_ = c.Close()
}
