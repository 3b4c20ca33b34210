package e2e

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"vmsync/internal/api"
	"vmsync/tests/lab"
)

const (
	uriTLS   = "vmsync+tls://hosta/system"
	tlsDir   = "/etc/vmsync/tls"
	tlsUnit  = "vmsync-nbdproxy"
	clientsA = tlsDir + "/clients"
)

// withoutSSH sets hosta up as docs/TLS.md says, for hostb to pull its machines, and stops
// its sshd.
func withoutSSH(t *testing.T) {
	t.Helper()
	for _, unit := range []string{tlsUnit + ".socket", tlsUnit + ".service"} {
		text, err := os.ReadFile("../../systemd/" + unit)
		if err != nil {
			t.Fatal(err)
		}
		if err := hosta.WriteFile(unitDir+unit, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		ctx, cancel := cleanupContext()
		defer cancel()
		if t.Failed() {
			out, _ := hosta.Run(ctx, "journalctl", "-u", tlsUnit, "-o", "short-precise", "--no-pager")
			t.Log(out)
		}
		if _, err := hosta.Run(ctx, "sh", "-c", fmt.Sprintf(
			"systemctl disable --now %[1]s.socket %[1]s.service; rm -rf %[2]s%[1]s.* /etc/vmsync; systemctl daemon-reload; systemctl start ssh", tlsUnit, unitDir)); err != nil {
			t.Error(err)
		}
		if _, err := hostb.Run(ctx, "rm", "-rf", "/etc/vmsync"); err != nil {
			t.Error(err)
		}
	})
	on(t, hosta, "systemctl", "daemon-reload")
	if out := on(t, hosta, "sh", "-c", "systemd-analyze verify "+tlsUnit+".socket "+tlsUnit+".service 2>&1"); out != "" {
		t.Errorf("systemd-analyze verify: %s", out)
	}
	on(t, hosta, "systemd-analyze", "security", "--offline=true", "--threshold=35", unitDir+tlsUnit+".service")

	on(t, hostb, "vmsync", "tls", "ca")
	on(t, hostb, "vmsync", "tls", "issue", "hosta", "--server", "--address", hosta.Addr())
	on(t, hostb, "vmsync", "tls", "issue", "hostb", "--client")
	hand(t, hostb, "/etc/vmsync/ca/hosta", hosta, tlsDir, "ca-cert.pem", "server-cert.pem", "server-key.pem")
	on(t, hostb, "sh", "-c", "cp -r /etc/vmsync/ca/hostb "+tlsDir)
	on(t, hosta, "sh", "-c", "echo hostb > "+clientsA)
	on(t, hosta, "systemctl", "enable", "--now", tlsUnit+".socket")
	on(t, hosta, "systemctl", "stop", "ssh")
	if c, err := hostb.Dial(t.Context(), "tcp", net.JoinHostPort(hosta.Addr(), "22")); err == nil {
		_ = c.Close()
		t.Fatal("hosta still has an SSH server")
	}
}

// overTLSFrom is the command line of a sync from hosta without SSH.
func overTLSFrom(domain string, more ...string) []string {
	return append([]string{"sync", domain, "--source-uri", uriTLS, "--json"}, more...)
}

// pull is a sync from hosta without SSH that must succeed.
func pull(t *testing.T, domain string, more ...string) event {
	t.Helper()
	return succeeded(t, start(t, hostb, overTLSFrom(domain, more...)...).wait())
}

// onlyTheListenerLeft is nothingLeft while hosta's listener, and nothing else, runs.
func onlyTheListenerLeft(t *testing.T, m *lab.Machine) {
	t.Helper()
	var left []string
	for end := time.Now().Add(40 * time.Second); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		left = leftovers(t, m)
		if i := slices.Index(left, "vmsync on hosta"); i >= 0 {
			left = slices.Delete(left, i, i+1)
		}
		if len(left) == 0 {
			return
		}
	}
	t.Fatalf("left behind: %s", strings.Join(left, "; "))
}

// eachTLSTransport runs a test for each way of the stream of such a source. The word for
// the second one is that of the flag.
func eachTLSTransport(t *testing.T, f func(t *testing.T, transport, way string)) {
	for _, c := range [][2]string{{"direct", "direct"}, {"ssh", "tls"}} {
		t.Run(c[1], func(t *testing.T) { f(t, c[0], c[1]) })
	}
}

func TestTargetPullsWithoutSSH(t *testing.T) {
	withoutSSH(t)
	m := guest(t, qcow2("vda", 256*mib), qcow2("vdb", 128*mib))
	inGuest(t, m, "sh", "-c", "dd if=/dev/urandom of=/mnt/vda/big bs=1M count=20; sync")
	s := pull(t, m.Name())
	if s.Kind != "full" || s.Transport != "direct" || s.NotDirect != "" || s.Consistency != "filesystem" {
		t.Errorf("%+v", s)
	}
	inGuest(t, m, "sh", "-c", "dd if=/dev/urandom of=/mnt/vdb/more bs=1M count=12; rm /mnt/vda/big; sync")
	if s := pull(t, m.Name(), "--transport", "ssh"); s.Kind != "incremental" || s.Transport != "tls" || s.SentBytes < 12*mib {
		t.Errorf("%+v", s)
	}
	onlyTheListenerLeft(t, m)
	said := admins(t, "sync", m.Name(), "--source-uri", uriTLS, "--transport", "ssh").ok(t, "incremental", "through this host, over TLS")
	t.Log("\n" + said.stdout)
	admins(t, "sync", m.Name(), "--source-uri", uriTLS, "--estimate").ok(t, m.Name())
	admins(t, "doctor", m.Name(), "--source-uri", uriTLS).ok(t, "can be replicated")
	admins(t, "verify", m.Name(), "--against-source", "--source-uri", uriTLS).ok(t, "the same as on the source")
	on(t, hostb, "sh", "-c", "vmsync send "+m.Name()+" --source-uri "+uriTLS+" > /var/tmp/stream && vmsync stream verify /var/tmp/stream; rm /var/tmp/stream")
	if err := m.Pause(t.Context()); err != nil {
		t.Fatal(err)
	}
	on(t, hostb, "vmsync", "tls", "issue", "hostb", "--client", "--valid-for", "20m")
	o := start(t, hostb, overTLSFrom(m.Name(), "--tls-dir", "/etc/vmsync/ca/hostb")...).wait()
	succeeded(t, o)
	if said := o.messages("warning"); strings.Count(said, "ends soon") != 1 || !strings.Contains(said, "vmsync tls issue hostb --client") {
		t.Errorf("of a certificate that ends in 20 minutes: %q", said)
	}
	sameAsSource(t, m, "vda", "vdb")
	log := on(t, hosta, "journalctl", "-u", tlsUnit, "--no-pager")
	if !strings.Contains(log, "client=hostb from="+hostb.Addr()) {
		t.Errorf("the log does not tell who came: %s", log)
	}
	if out := on(t, hosta, "systemctl", "status", tlsUnit); !strings.Contains(out, "agents for clients: ") {
		t.Errorf("systemctl does not say how things stand:\n%s", out)
	}
	on(t, hosta, "systemctl", "stop", tlsUnit+".service", tlsUnit+".socket")
	if out := on(t, hosta, "systemctl", "show", "-p", "Result,ExecMainStatus", tlsUnit+".service"); !strings.Contains(out, "Result=success") || !strings.Contains(out, "ExecMainStatus=0") {
		t.Errorf("it did not end well: %s", out)
	}
	// The stream that was only looked at left its checkpoint, of a pair of its own.
	if left := litter(t, m); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	e := failed(t, start(t, hostb, overTLSFrom(m.Name())...).wait(), 1, "unreachable", m.Name(), "")
	if !strings.Contains(e.Message, "nobody listens") || !strings.Contains(e.Hint, tlsUnit+".socket") {
		t.Errorf("%+v", e)
	}
}

func TestWithoutACertificateNobodyPulls(t *testing.T) {
	withoutSSH(t)
	m := machine(t, qcow2("vda", 64*mib))
	refused := func(dir string, words ...string) {
		t.Helper()
		e := failed(t, start(t, hostb, overTLSFrom(m.Name(), "--tls-dir", dir)...).wait(), 1, "unreachable", m.Name(), "")
		for _, w := range words {
			if !strings.Contains(e.Message, w) {
				t.Errorf("%s: it does not say %q: %+v", dir, w, e)
			}
		}
	}
	refused("/etc/vmsync/none", "ca-cert.pem")
	on(t, hostb, "sh", "-ec", `cd /etc/vmsync; vmsync tls ca --dir other; vmsync tls issue hostb --client --dir other; cp ca/ca-cert.pem other/hostb
		vmsync tls issue hostc --client; vmsync tls issue hostd --client --valid-for 1s; sleep 2`)
	refused("/etc/vmsync/other/hostb", "hosta does not take the certificate", "CN=hostb")
	refused("/etc/vmsync/ca/hostc", `"hostc" is none of its clients`, clientsA)
	refused("/etc/vmsync/ca/hostd", "client-cert.pem", "CN=hostd", "not valid now")
	log := on(t, hosta, "journalctl", "-u", tlsUnit, "--no-pager")
	for _, w := range []string{"CN=hostc", "does not name it", hostb.Addr()} {
		if !strings.Contains(log, w) {
			t.Errorf("the log does not say %q: %s", w, log)
		}
	}
	e := failed(t, start(t, hostb, "sync", m.Name(), "--source-uri", "vmsync+tls://"+hosta.Addr()+"/system", "--target-uri", uriTLS, "--json").wait(), 2, "usage", m.Name(), "")
	if !strings.Contains(e.Message, "only be the source") {
		t.Errorf("%+v", e)
	}
	// Who is taken off the list is out at once.
	pull(t, m.Name())
	on(t, hosta, "sh", "-c", "> "+clientsA)
	refused(tlsDir, `"hostb" is none of its clients`)
	onlyTheListenerLeft(t, m)
}

// TestLinkToATLSSourceIsCut cuts the link between the hosts in the middle of a sync. The
// source must clean up by itself: nobody can reach it.
func TestLinkToATLSSourceIsCut(t *testing.T) {
	withoutSSH(t)
	eachTLSTransport(t, func(t *testing.T, transport, way string) {
		m := guest(t, qcow2("vda", 256*mib))
		inGuest(t, m, "sh", "-c", "dd if=/dev/urandom of=/mnt/vda/big bs=1M count=30 && sync")
		r := midTransfer(t, m, hostb, overTLSFrom(m.Name(), "--transport", transport, "--rate", "1M", "--compress", "none")...)
		began := time.Now()
		there := firewall(t, hostb, "-s", hosta.Addr(), "-j", "DROP")
		back := firewall(t, hosta, "-s", hostb.Addr(), "-j", "DROP")
		o := r.wait()
		if o.code != 1 {
			t.Fatalf("exit code %d: %+v", o.code, o.events)
		}
		t.Logf("noticed after %v: %+v", time.Since(began).Round(time.Second), o.find("error"))
		onlyTheListenerLeft(t, m)
		thawed(t, m)
		there()
		back()
		if s := pull(t, m.Name(), "--transport", transport); s.Transport != way {
			t.Errorf("%+v", s)
		}
		onlyTheListenerLeft(t, m)
	})
}

// TestListenerIsKilled kills the listener in the middle of a sync, whose agent undoes it, and
// pulls again at once: systemd has kept the socket.
func TestListenerIsKilled(t *testing.T) {
	withoutSSH(t)
	eachTLSTransport(t, func(t *testing.T, transport, way string) {
		m := busyMachine(t)
		r := midTransfer(t, m, hostb, overTLSFrom(m.Name(), "--transport", transport, "--rate", "2M", "--compress", "none")...)
		if n, err := hosta.SignalAll("vmsync listen", syscall.SIGKILL); err != nil || n != 1 {
			t.Fatalf("killed %d processes, %v", n, err)
		}
		// The stream, or the agent, is missed first.
		o := r.wait()
		if e := o.find("error"); o.code != 1 || e.Kind != "agent-lost" && e.Kind != "peer" || e.Domain != m.Name() || e.Hint == "" {
			t.Errorf("exit code %d, %+v", o.code, e)
		}
		eventually(t, "the agent undid the run", func() bool {
			return len(checkpoints(t, m)) == 0
		})
		if s := pull(t, m.Name(), "--transport", transport); s.Transport != way {
			t.Errorf("%+v", s)
		}
		sameAsSource(t, m, "vda", "vdb")
		onlyTheListenerLeft(t, m)
	})
}

// TestGuestThawsWhenListenerAndAgentAreKilled kills both while a guest is frozen. The guard,
// although a child of the service, must live on.
func TestGuestThawsWhenListenerAndAgentAreKilled(t *testing.T) {
	const held = "/run/vmsync-hold-tls"
	withoutSSH(t)
	m := guest(t, qcow2("vda", 128*mib))
	withFault(t, hosta, "source-after-freeze=wait:"+held)
	t.Cleanup(func() {
		ctx, cancel := cleanupContext()
		defer cancel()
		if _, err := hosta.Run(ctx, "rm", "-f", held, held+".hit"); err != nil {
			t.Error(err)
		}
	})
	r := start(t, hostb, overTLSFrom(m.Name())...)
	eventually(t, "the guest is frozen", func() bool { return exists(t, hosta, held+".hit") })
	for _, process := range []string{"vmsync listen", "vmsync agent"} {
		if n, err := hosta.SignalAll(process, syscall.SIGKILL); err != nil || n != 1 {
			t.Fatalf("killed %d of %s, %v", n, process, err)
		}
	}
	failed(t, r.wait(), 1, "agent-lost", m.Name(), "")
	thawed(t, m)
	withoutFault(t, hosta)
	pull(t, m.Name())
	onlyTheListenerLeft(t, m)
}

// TestListenerIsStopped stops the listener in the middle of a sync: when systemctl
// returns, nothing is left.
func TestListenerIsStopped(t *testing.T) {
	withoutSSH(t)
	m := busyMachine(t)
	r := midTransfer(t, m, hostb, overTLSFrom(m.Name(), "--rate", "2M", "--compress", "none")...)
	on(t, hosta, "systemctl", "stop", tlsUnit+".service")
	if got := checkpoints(t, m); len(got) > 0 {
		t.Errorf("checkpoints %v", got)
	}
	if out, err := hosta.Run(t.Context(), "virsh", "domjobinfo", m.Name()); err == nil && !strings.Contains(out, "None") {
		t.Errorf("the backup job is still open: %s", out)
	}
	if o := r.wait(); o.code != 1 {
		t.Errorf("%+v", o.events)
	}
	pull(t, m.Name())
	sameAsSource(t, m, "vda", "vdb")
	onlyTheListenerLeft(t, m)
}

// TestClientGetsItsMachinesAlone has a client that may have some machines ask for others, by
// all names that these have, and by those of none.
func TestClientGetsItsMachinesAlone(t *testing.T) {
	withoutSSH(t)
	on(t, hosta, "sh", "-c", "echo 'hostb: tls-m*, else' > "+clientsA)
	mine := makeMachine(t, lab.MachineSpec{Name: "tls-mine", Disks: []lab.DiskSpec{qcow2("vda", 64*mib)}})
	other := makeMachine(t, lab.MachineSpec{Name: "tls-other", Disks: []lab.DiskSpec{qcow2("vda", 64*mib)}})
	dirty(t, mine, "vda", 0, mib, 1)
	pull(t, mine.Name())
	for _, domain := range []string{other.Name(), uuidOf(t, other), "tls-none", "5ea4f2a6-1b3e-4d43-9d2d-0a8f6b8f2a11"} {
		e := failed(t, start(t, hostb, overTLSFrom(domain, "--target-domain", "x")...).wait(), 1, "denied", domain, "")
		if !strings.Contains(e.Message, "the source does not let this client have it") || !strings.Contains(e.Hint, "list of clients") {
			t.Errorf("%s: %+v", domain, e)
		}
	}
	failed(t, start(t, hostb, overTLSFrom("else")...).wait(), 1, "unknown-domain", "else", "")
	admins(t, "doctor", other.Name(), "--source-uri", uriTLS).exits(t, 1, "the source does not let this client have it")

	// A client that keeps to no rules.
	marks := []string{}
	for _, m := range []*lab.Machine{mine, other} { // by the name of the one that it may have
		marks = append(marks, fmt.Sprintf(`{"domain":"tls-mine","uuid":"%s","checkpoint":"vmsync-00000000-1"}`, uuidOf(t, m)))
	}
	requests := []string{`{"jsonrpc":"2.0","id":1,"method":"hello","params":{"protocol":5,"role":"source"}}`,
		`{"jsonrpc":"2.0","id":2,"method":"source.list"}`,
		`{"jsonrpc":"2.0","id":3,"method":"source.peek","params":{"marks":[` + strings.Join(marks, ",") + `]}}`}
	// One at a time: an agent answers what comes together in any order.
	out := on(t, hosta, "sh", "-c", "for r in '"+strings.Join(requests, "' '")+`'; do echo "$r"; sleep 1; done | vmsync agent --for-client `+hostb.Addr()+" --machine 'tls-m*' --stream-folder /tmp")
	answers := strings.Split(strings.TrimSpace(out), "\n")
	if len(answers) != 3 {
		t.Fatalf("answers: %q", answers)
	}
	if !strings.Contains(answers[1], `"tls-mine"`) || strings.Contains(answers[1], "tls-other") {
		t.Errorf("the list: %s", answers[1])
	}
	first, second, _ := strings.Cut(answers[2], "},{")
	if !strings.Contains(first, "Domain checkpoint not found") || !strings.Contains(second, "does not let this client have it") {
		t.Errorf("the look for changes: %s", answers[2])
	}

	startService(t, "version: 1\nsources: {hosta: '"+uriTLS+"'}\nretry: {first: 2s, max: 5s}\nmachines: [{name: 'tls-*', every: 5s, max_age: 15s, keep: 3}]\n")
	awaits(t, "is replicated", mine.Name(), well)
	began := time.Now()
	awaits(t, "is looked at", mine.Name(), func(m api.Machine) bool { return well(m) && m.Fresh.After(began) })
	if out := on(t, hostb, "vmsync", "status"); strings.Contains(out, other.Name()) {
		t.Errorf("status:\n%s", out)
	}
	on(t, hostb, "systemctl", "stop", "vmsync")
	sameAsSource(t, mine, "vda")
	onlyTheListenerLeft(t, mine)
	onlyTheListenerLeft(t, other)
}

// TestServicePullsWithoutSSH has the service replicate machines of such a source, also after
// the listener was killed.
func TestServicePullsWithoutSSH(t *testing.T) {
	withoutSSH(t)
	m := makeMachine(t, lab.MachineSpec{Name: "tls-one", Disks: []lab.DiskSpec{qcow2("vda", 64*mib)}})
	dirty(t, m, "vda", 0, mib, 1)
	startService(t, "version: 1\nsources: {hosta: '"+uriTLS+"'}\nretry: {first: 2s, max: 5s}\nmachines: [{name: 'tls-*', every: 5s, max_age: 15s, keep: 3}]\n")
	awaits(t, "is replicated", m.Name(), well)
	if n, err := hosta.SignalAll("vmsync listen", syscall.SIGKILL); err != nil || n == 0 {
		t.Fatalf("killed %d processes, %v", n, err)
	}
	killed := time.Now()
	dirty(t, m, "vda", 4*mib, mib, 2)
	awaits(t, "is replicated after a kill", m.Name(), func(m api.Machine) bool { return well(m) && m.Fresh.After(killed) })
	on(t, hostb, "systemctl", "stop", "vmsync")
	sameAsSource(t, m, "vda")
	onlyTheListenerLeft(t, m)
}
