package e2e

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"vmsync/tests/lab"
)

// nbdDir is a folder on hosta where qemu may make sockets, and nobody else but root.
const nbdDir = "/run/nbd-test"

// pullBackup begins a pull backup of a machine on hosta as an administrator would, by
// virsh, with a new checkpoint, and incremental to an older one unless that is
// empty. It returns the export's socket. The backup ends with the test, or by end.
func pullBackup(t *testing.T, m *lab.Machine, checkpoint, since string) (socket string, end func()) {
	t.Helper()
	host(t, hosta, "install", "-d", "-o", "libvirt-qemu", "-m", "0755", nbdDir)
	socket = path.Join(nbdDir, m.Name()+".sock")
	incremental := ""
	if since != "" {
		incremental = "<incremental>" + since + "</incremental>"
	}
	files := map[string]string{
		"backup":     fmt.Sprintf("<domainbackup mode='pull'>%s<server transport='unix' socket='%s'/></domainbackup>", incremental, socket),
		"checkpoint": fmt.Sprintf("<domaincheckpoint><name>%s</name></domaincheckpoint>", checkpoint),
	}
	for name, xml := range files {
		if err := hosta.WriteFile(path.Join(nbdDir, name), []byte(xml), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	host(t, hosta, "virsh", "backup-begin", m.Name(), path.Join(nbdDir, "backup"), path.Join(nbdDir, "checkpoint"))
	ended := false
	end = func() {
		if ended {
			return
		}
		ended = true
		ctx, cancel := cleanupContext()
		defer cancel()
		if _, err := hosta.Run(ctx, "virsh", "domjobabort", m.Name()); err != nil && m.Host().Running() {
			if state, serr := m.State(ctx); serr == nil && state != "shut off" {
				t.Error(err)
			}
		}
	}
	t.Cleanup(end)
	return socket, end
}

// host runs a command that has to succeed.
func host(t *testing.T, h *lab.Host, argv ...string) string {
	t.Helper()
	out, err := h.Run(t.Context(), argv...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// refuses runs a command that has to fail, and returns what it complained of.
func refuses(t *testing.T, h *lab.Host, argv ...string) string {
	t.Helper()
	out, err := h.Run(t.Context(), argv...)
	var failed *lab.CommandError
	if !errors.As(err, &failed) {
		t.Fatalf("%s succeeded: %s, error %v", strings.Join(argv, " "), out, err)
	}
	return out + failed.Stderr
}

// proxy is a running `vmsync-nbd proxy`.
type proxy struct {
	t      *testing.T
	host   *lab.Host
	cmd    *exec.Cmd
	said   string // the line it said when it listened
	stderr string // the file that its log goes to
}

// startProxy starts a proxy on a host and waits until it listens.
func startProxy(t *testing.T, h *lab.Host, args ...string) *proxy {
	t.Helper()
	p := &proxy{t: t, host: h, cmd: h.Command(t.Context(), append([]string{binDir + "vmsync-nbd", "proxy"}, args...)...)}
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	p.cmd.Stderr, p.stderr = log, log.Name()
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.cmd.ProcessState == nil {
			_ = h.Signal(p.cmd, syscall.SIGKILL)
			_ = p.cmd.Wait()
		}
	})
	if p.said, err = bufio.NewReader(out).ReadString('\n'); err != nil {
		_ = p.cmd.Wait()
		t.Fatalf("the proxy did not start: %s", p.log())
	}
	return p
}

// wait waits for the end of the proxy and returns its exit status and its complaints.
func (p *proxy) wait() (code int, stderr string) {
	p.t.Helper()
	_ = p.cmd.Wait()
	return p.cmd.ProcessState.ExitCode(), p.log()
}

// log is what the proxy has logged so far.
func (p *proxy) log() string {
	p.t.Helper()
	b, err := os.ReadFile(p.stderr)
	if err != nil {
		p.t.Fatal(err)
	}
	return string(b)
}

// stop ends the proxy as systemd would.
func (p *proxy) stop() {
	p.t.Helper()
	if err := p.host.Signal(p.cmd, syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	if code, stderr := p.wait(); code != 0 {
		p.t.Errorf("exit status %d after SIGTERM: %s", code, stderr)
	}
}

// extent is a line of a map: of nbdinfo's, or of qemu-img's.
type extent struct {
	Offset int64
	Length int64
	What   string
}

// nbdMap is an export's map in a context as nbdinfo sees it.
func nbdMap(t *testing.T, h *lab.Host, uri, context string) []extent {
	t.Helper()
	var lines []struct {
		Offset, Length int64
		Type           uint32
	}
	if err := json.Unmarshal([]byte(host(t, h, "nbdinfo", "--json", "--map="+context, uri)), &lines); err != nil {
		t.Fatal(err)
	}
	var m []extent
	for _, l := range lines {
		m = extend(m, extent{l.Offset, l.Length, fmt.Sprint(l.Type)})
	}
	return m
}

// imgMap is what qemu-img map says of an image.
func imgMap(t *testing.T, h *lab.Host, image string) []extent {
	t.Helper()
	var lines []struct {
		Start, Length int64
		Zero, Data    bool
		Present       bool
	}
	if err := json.Unmarshal([]byte(host(t, h, "qemu-img", "map", "--output=json", "--image-opts", image)), &lines); err != nil {
		t.Fatal(err)
	}
	var m []extent
	for _, l := range lines {
		m = extend(m, extent{l.Start, l.Length, fmt.Sprint(l.Zero, l.Data, l.Present)})
	}
	return m
}

// extend adds to a map; how a reply is cut into entries is nobody's business.
func extend(m []extent, e extent) []extent {
	if k := len(m) - 1; k >= 0 && m[k].What == e.What && m[k].Offset+m[k].Length == e.Offset {
		m[k].Length += e.Length
		return m
	}
	return append(m, e)
}

// sum is the digest of what a client read.
func sum(t *testing.T, h *lab.Host, file string) string {
	t.Helper()
	out := host(t, h, "sha256sum", file)
	digest, _, _ := strings.Cut(out, " ")
	host(t, h, "rm", file)
	return digest
}
