package e2e

import (
	"bytes"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"vmsync/tests/lab"
)

// authority makes, as docs/NBD.md says to, an authority with a server's certificate for hosta and
// a client's for hostb, in a folder of that name on the host.
func authority(t *testing.T, h *lab.Host, dir string) {
	t.Helper()
	authorityFor(t, h, dir, hosta, hostb)
}

// authorityFor is authority for another server and another client.
func authorityFor(t *testing.T, h *lab.Host, dir string, server, client *lab.Host) {
	t.Helper()
	host(t, h, "rm", "-rf", dir)
	host(t, h, "sh", "-ec", fmt.Sprintf(`
		mkdir -m 0700 %[1]s; cd %[1]s
		new="openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
		sign="openssl x509 -req -CA ca-cert.pem -CAkey ca-key.pem -days 730 -copy_extensions copy"
		$new -x509 -days 3650 -subj "/CN=NBD authority" -keyout ca-key.pem -out ca-cert.pem
		$new -subj /CN=%[2]s -addext subjectAltName=DNS:%[2]s,IP:%[3]s -addext extendedKeyUsage=serverAuth -keyout server-key.pem |
			$sign -out server-cert.pem
		$new -subj /CN=%[4]s -addext extendedKeyUsage=clientAuth -keyout client-key.pem |
			$sign -out client-cert.pem`, dir, server.Name(), server.Addr(), client.Name()))
}

// hand copies files of a folder of one host to a folder of another.
func hand(t *testing.T, from *lab.Host, dir string, to *lab.Host, toDir string, files ...string) {
	t.Helper()
	for _, f := range files {
		if err := to.CopyIn(from.Path(dir+"/"+f), toDir+"/"+f); err != nil {
			t.Fatal(err)
		}
	}
}

const (
	pkiDir  = "/etc/nbd-pki"
	nbdPort = "10809"
)

// tlsProxy serves a full backup of a machine on to the network.
func tlsProxy(t *testing.T, m *lab.Machine, more ...string) (direct string, p *proxy) {
	t.Helper()
	authority(t, hosta, pkiDir)
	direct, _ = pullBackup(t, m, "cp2", "")
	p = startProxy(t, hosta, append([]string{"--upstream", unixURI(direct, "vda"),
		"--listen", net.JoinHostPort(hosta.Addr(), nbdPort), "--tls-certificates", pkiDir}, more...)...)
	return direct, p
}

// nbds leads to hosta's proxy over TLS.
func nbds(certificates string) string {
	return "nbds://" + hosta.Addr() + ":" + nbdPort + "/vda?tls-certificates=" + certificates
}

// overTLS are qemu-img's arguments for the same.
func overTLS(certificates string) []string {
	return []string{
		"--object", "tls-creds-x509,id=tls,endpoint=client,dir=" + certificates, "--image-opts",
		"driver=nbd,server.type=inet,server.host=" + hosta.Addr() + ",server.port=" + nbdPort + ",export=vda,tls-creds=tls",
	}
}

func TestClientsWithACertificateReadOverTheNetwork(t *testing.T) {
	m := patchyMachine(t)
	direct, p := tlsProxy(t, m, "--tls-client", "hostb")
	hand(t, hosta, pkiDir, hostb, "/root/pki", "ca-cert.pem", "client-cert.pem", "client-key.pem")
	host(t, hosta, "nbdcopy", unixURI(direct, "vda"), "/var/tmp/direct")
	want := sum(t, hosta, "/var/tmp/direct")
	if info := host(t, hostb, "nbdinfo", nbds("/root/pki")); !strings.Contains(info, "with TLS") || !strings.Contains(info, "structured") {
		t.Errorf("%s", info)
	}
	host(t, hostb, "nbdcopy", nbds("/root/pki"), "/var/tmp/copy")
	if got := sum(t, hostb, "/var/tmp/copy"); got != want {
		t.Errorf("nbdcopy over TLS: %s, want %s", got, want)
	}
	host(t, hostb, append(append([]string{"qemu-img", "convert", "-O", "raw"}, overTLS("/root/pki")...), "/var/tmp/copy")...)
	if got := sum(t, hostb, "/var/tmp/copy"); got != want {
		t.Errorf("qemu-img convert over TLS: %s, want %s", got, want)
	}
	p.stop()
}

func TestStrangersReadNothing(t *testing.T) {
	m := patchyMachine(t)
	_, p := tlsProxy(t, m, "--tls-client", "hostb")
	hand(t, hosta, pkiDir, hostb, "/root/pki-none", "ca-cert.pem")
	// Of another authority; the client trusts ours.
	authority(t, hostb, "/root/pki-other")
	hand(t, hosta, pkiDir, hostb, "/root/pki-other", "ca-cert.pem")
	// Of our authority, but not on the list.
	authority(t, hosta, pkiDir+"-more")
	host(t, hosta, "sh", "-ec", `cd `+pkiDir+`
		openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=hostc -addext extendedKeyUsage=clientAuth -keyout ../nbd-pki-more/client-key.pem |
			openssl x509 -req -CA ca-cert.pem -CAkey ca-key.pem -days 730 -copy_extensions copy -out ../nbd-pki-more/client-cert.pem`)
	hand(t, hosta, pkiDir, hostb, "/root/pki-hostc", "ca-cert.pem")
	hand(t, hosta, pkiDir+"-more", hostb, "/root/pki-hostc", "client-cert.pem", "client-key.pem")
	for name, c := range map[string]struct{ dir, reason string }{
		"no certificate":                 {"/root/pki-none", "didn't provide a certificate"},
		"another authority":              {"/root/pki-other", "unknown authority"},
		"a client that is not on a list": {"/root/pki-hostc", "hostc"},
	} {
		refuses(t, hostb, "nbdinfo", nbds(c.dir))
		refuses(t, hostb, append([]string{"qemu-img", "info"}, overTLS(c.dir)...)...)
		if !strings.Contains(p.log(), c.reason) {
			t.Errorf("%s: the log does not tell: %s", name, p.log())
		}
	}
	plain := "nbd://" + hosta.Addr() + ":" + nbdPort + "/vda"
	refuses(t, hostb, "nbdcopy", plain, "null:")
	refuses(t, hostb, "nbdinfo", "--list", plain)
	refuses(t, hostb, "qemu-img", "info", "-f", "raw", plain)
	p.stop()
}

func TestPlaintextIsNotForTheNetwork(t *testing.T) {
	m := patchyMachine(t)
	socket, _ := pullBackup(t, m, "cp2", "")
	for _, address := range []string{hosta.Addr() + ":10809", ":10809", "0.0.0.0:10809"} {
		said := refuses(t, hosta, binDir+"vmsync-nbd", "proxy", "--upstream", unixURI(socket, "vda"), "--listen", address)
		if !strings.Contains(said, "TLS") || !strings.Contains(said, "server-cert.pem") {
			t.Errorf("%s: %s", address, said)
		}
	}
}

// Two clients stop taking what they are sent: one is stopped, the other's cable is
// pulled. Only the second is given up.
func TestDeadClientIsNoticedAndASlowOneIsServed(t *testing.T) {
	m := machine(t, qcow2("vda", 128*mib))
	randomData(t, m, "vda", 0, 64*mib)
	direct, p := tlsProxy(t, m)
	host(t, hosta, "nbdcopy", unixURI(direct, "vda"), "/var/tmp/direct")
	want := sum(t, hosta, "/var/tmp/direct")
	setLink(t, hosta, lab.Link{Rate: 10_000_000}) // none of them is done before the other things happen
	defer setLink(t, hosta, lab.Link{})
	read := func(h *lab.Host) (wait func() error, signal func(syscall.Signal)) {
		t.Helper()
		hand(t, hosta, pkiDir, h, "/root/pki", "ca-cert.pem", "client-cert.pem", "client-key.pem")
		cmd := h.Command(t.Context(), "nbdcopy", "--connections=1", nbds("/root/pki"), "/var/tmp/copy")
		var said bytes.Buffer
		cmd.Stderr = &said
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		wait = func() error {
			if err := cmd.Wait(); err != nil {
				return fmt.Errorf("%w: %s", err, said.String())
			}
			return nil
		}
		signal = func(s syscall.Signal) {
			t.Helper()
			if err := h.Signal(cmd, s); err != nil {
				t.Fatal(err)
			}
			// nsenter stops with the program that it started.
			_ = cmd.Process.Signal(syscall.SIGCONT)
		}
		return wait, signal
	}
	slow, toSlow := read(hostb)
	dead, toDead := read(op_)
	connected(t, 2)
	toSlow(syscall.SIGSTOP)
	plug(t, op_, false)
	defer plug(t, op_, true)
	connected(t, 1)
	setLink(t, hosta, lab.Link{})
	toSlow(syscall.SIGCONT)
	if err := slow(); err != nil {
		t.Errorf("the slow client was given up: %v\n%s", err, p.log())
	} else if got := sum(t, hostb, "/var/tmp/copy"); got != want {
		t.Errorf("the slow client got %s, want %s", got, want)
	}
	// The dead client still waits: nobody could tell it. It must not have been served.
	toDead(syscall.SIGKILL)
	if err := dead(); err == nil {
		t.Error("the dead client was served")
	}
	p.stop()
}

// connected waits until the proxy has so many connections over the network.
func connected(t *testing.T, n int) {
	t.Helper()
	for end := time.Now().Add(4 * time.Minute); ; time.Sleep(200 * time.Millisecond) {
		out := host(t, hosta, "ss", "-Htn", "state", "established", "sport", "=", ":"+nbdPort)
		if strings.Count(out, "\n") == n {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("want %d connections, there are: %s", n, out)
		}
	}
}
