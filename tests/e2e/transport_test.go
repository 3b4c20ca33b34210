package e2e

import (
	"crypto/tls"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"vmsync/internal/pin"
	"vmsync/tests/lab"
)

// The ports of direct connections, as iptables wants them.
const directPorts = "49152:49215"

// fromThird is the command line of a sync from hosta to hostb run on neither.
func fromThird(domain string, more ...string) []string {
	return append([]string{"sync", domain, "--source-uri", uriA, "--target-uri", uriB, "--json"}, more...)
}

// firewall adds a rule to those of a host for what comes in, until the test ends or
// the returned function is called.
func firewall(t *testing.T, h *lab.Host, rule ...string) (lift func()) {
	t.Helper()
	iptables := func(action string) {
		t.Helper()
		ctx, cancel := cleanupContext()
		defer cancel()
		if _, err := h.Run(ctx, append([]string{"iptables", "-w", action, "INPUT"}, rule...)...); err != nil {
			t.Error(err)
		}
	}
	iptables("-A")
	lifted := false
	lift = func() {
		t.Helper()
		if !lifted {
			iptables("-D")
			lifted = true
		}
	}
	t.Cleanup(lift)
	return lift
}

// cutDirect swallows whatever passes between hosta and hostb on direct connections,
// and nothing else, until the returned function is called.
func cutDirect(t *testing.T) (mend func()) {
	t.Helper()
	there := firewall(t, hostb, "-s", hosta.Addr(), "-p", "tcp", "--dport", directPorts, "-j", "DROP")
	back := firewall(t, hosta, "-s", hostb.Addr(), "-p", "tcp", "--sport", directPorts, "-j", "DROP")
	return func() { there(); back() }
}

// traffic is how many bytes have passed a host's network interface.
func traffic(t *testing.T, h *lab.Host) int64 {
	t.Helper()
	out, err := h.Run(t.Context(), "cat", "/proc/net/dev")
	if err != nil {
		t.Fatal(err)
	}
	_, counters, ok := strings.Cut(out, "eth0:")
	f := strings.Fields(counters)
	if !ok || len(f) < 9 {
		t.Fatalf("no eth0 in %s", out)
	}
	var sum int64
	for _, column := range []int{0, 8} { // received, sent
		n, err := strconv.ParseInt(f[column], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	return sum
}

func TestStreamGoesDirectlyFromEveryPlace(t *testing.T) {
	m := machine(t, qcow2("vda", 128*mib))
	const data = 8 * mib
	for i, c := range []struct {
		name      string
		on        *lab.Host
		args      []string
		transport string
	}{
		{"target", hostb, fromTarget(m.Name()), "direct"},
		{"source", hosta, []string{"sync", m.Name(), "--target-uri", uriB, "--json"}, "direct"},
		{"third machine", op_, fromThird(m.Name()), "direct"},
		{"third machine, SSH asked for", op_, fromThird(m.Name(), "--transport", "ssh"), "ssh"},
	} {
		t.Run(c.name, func(t *testing.T) {
			randomData(t, m, "vda", int64(i)*data, data)
			before := traffic(t, op_)
			s := succeeded(t, start(t, c.on, c.args...).wait())
			passed := traffic(t, op_) - before
			if s.Transport != c.transport || s.NotDirect != "" || s.SentBytes < data {
				t.Errorf("%+v", s)
			}
			// What the summary says is what was on the wire: over SSH all of it passes the
			// third machine, in and out.
			if c.transport == "direct" && passed > data/4 || c.transport == "ssh" && passed < 2*data {
				t.Errorf("%d bytes passed the third machine", passed)
			}
			sameAsSource(t, m, "vda")
			nothingLeft(t, m)
		})
	}
}

func TestStreamWithinOneHost(t *testing.T) {
	const replica = "within-one-host"
	m := machine(t, qcow2("vda", 64*mib))
	dirty(t, m, "vda", 0, mib, 1)
	t.Cleanup(func() {
		ctx, cancel := cleanupContext()
		defer cancel()
		if err := hosta.Machine(replica).Remove(ctx); err != nil {
			t.Error(err)
		}
		if _, err := hosta.Run(ctx, "rm", "-rf", storeDir+"/"+replica); err != nil {
			t.Error(err)
		}
	})
	args := []string{"sync", m.Name(), "--target-domain", replica, "--json"}
	e := failed(t, start(t, hosta, append(args, "--transport", "direct")...).wait(), 1, "peer", m.Name(), "")
	if !strings.Contains(e.Message, "both ends are this host") {
		t.Errorf("%+v", e)
	}
	s := succeeded(t, start(t, hosta, args...).wait())
	if s.Transport != "local" || s.NotDirect != "" {
		t.Errorf("%+v", s)
	}
}

// TestFirewallInFrontOfTheDirectPorts tries a firewall that swallows and one that
// refuses.
func TestFirewallInFrontOfTheDirectPorts(t *testing.T) {
	for name, c := range map[string]struct {
		target []string // of iptables
		says   string
	}{
		"drops":   {[]string{"DROP"}, "timeout"},
		"rejects": {[]string{"REJECT"}, "refused"},
	} {
		t.Run(name, func(t *testing.T) {
			m := machine(t, qcow2("vda", 64*mib))
			randomData(t, m, "vda", 0, 4*mib)
			firewall(t, hostb, append([]string{"-p", "tcp", "--dport", directPorts, "-j"}, c.target...)...)

			e := failed(t, trySync(t, m.Name(), "--transport", "direct"), 1, "peer", m.Name(), "")
			if !strings.Contains(e.Message, c.says) || !strings.Contains(e.Hint, "49152 to 49215") {
				t.Errorf("%+v", e)
			}
			if mf := manifest(t, m.Name()); mf != nil && mf.Head() != nil {
				t.Errorf("a state is listed: %+v", mf.Head())
			}
			if left := listFiles(t, hostb, storeDir+"/"+m.Name()+"/disks"); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
			nothingLeft(t, m)

			s := sync(t, m.Name())
			if s.Transport != "ssh" || !strings.Contains(s.NotDirect, c.says) {
				t.Errorf("%+v", s)
			}
			sameAsSource(t, m, "vda")
			onlyPlainImages(t, m.Name())

			randomData(t, m, "vda", 8*mib, 4*mib)
			out, err := hostb.Run(t.Context(), "vmsync", "sync", m.Name(), "--source-uri", uriA)
			if err != nil || !strings.Contains(out, "sent over SSH") || !strings.Contains(out, "not directly: ") {
				t.Errorf("%v\n%s", err, out)
			}
			sameAsSource(t, m, "vda")
			nothingLeft(t, m)
		})
	}
}

// TestStrangersOnTheDirectPortChangeNothing connects to a waiting target from a third
// host, as one may who has found the port, and again when the stream has begun.
func TestStrangersOnTheDirectPortChangeNothing(t *testing.T) {
	const held = "/run/vmsync-hold-direct"
	m := machine(t, qcow2("vda", 64*mib))
	randomData(t, m, "vda", 0, 8*mib)
	withFault(t, hosta, "source-after-thaw=wait:"+held)
	t.Cleanup(func() {
		ctx, cancel := cleanupContext()
		defer cancel()
		if _, err := hosta.Run(ctx, "rm", "-f", held, held+".hit"); err != nil {
			t.Error(err)
		}
	})
	r := start(t, hostb, fromTarget(m.Name(), "--rate", "2M", "--compress", "none", "--transport", "direct")...)
	eventually(t, "the target listens and the source does not connect yet", func() bool { return exists(t, hosta, held+".hit") })
	address := directAddress(t)
	var strangers []net.Conn
	for _, says := range []string{"", "GET / HTTP/1.1\r\n\r\n", strings.Repeat("\x16\x03\x01\xff", 1000)} {
		c, err := op_.Dial(t.Context(), "tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := io.WriteString(c, says); err != nil {
			t.Fatal(err)
		}
		strangers = append(strangers, c)
	}
	withForeignCertificate(t, address)
	if err := hosta.WriteFile(held, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	before := stored(t, m)
	eventually(t, "the stream is on its way", func() bool { return stored(t, m) > before+2*mib })
	if c, err := op_.Dial(t.Context(), "tcp", address); err == nil {
		t.Error("the target takes connections although it has those it waited for")
		_ = c.Close()
	}
	if zombie(r.cmd.Process.Pid) {
		t.Fatalf("the sync ended too early: %+v", r.wait())
	}
	if s := succeeded(t, r.wait()); s.Transport != "direct" {
		t.Errorf("%+v", s)
	}
	for i, c := range strangers {
		if n, err := io.Copy(io.Discard, c); n > tlsAlert {
			t.Errorf("stranger %d was told %d bytes, error %v", i, n, err)
		}
	}
	sameAsSource(t, m, "vda")
	withoutFault(t, hosta)
	nothingLeft(t, m)
}

// directAddress is where hostb listens for a direct connection.
func directAddress(t *testing.T) string {
	t.Helper()
	out, err := hostb.Run(t.Context(), "ss", "-Hltn", "src", hostb.Addr(), "sport", ">=", ":49152", "sport", "<=", ":49215")
	f := strings.Fields(out)
	if err != nil || len(f) != 5 {
		t.Fatalf("what listens is %q, error %v", out, err)
	}
	return f[3]
}

// tlsAlert is the length of the message by which TLS refuses what it cannot read, in
// bytes.
const tlsAlert = 7

// withForeignCertificate connects from op with a certificate that nobody announced,
// and checks that the target refuses it.
func withForeignCertificate(t *testing.T, address string) {
	t.Helper()
	own, err := pin.New()
	if err != nil {
		t.Fatal(err)
	}
	config, err := own.Client(own.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	config.InsecureSkipVerify, config.VerifyConnection = true, nil // it does not care who answers
	sock, err := op_.Dial(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	c := tls.Client(sock, config)
	t.Cleanup(func() { _ = c.Close() })
	// With TLS 1.3 the client is done before the server has seen its certificate.
	if err := c.HandshakeContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a stranger's certificate: %d bytes, error %v", n, err)
	}
}

func TestRateIsKept(t *testing.T) {
	const rate = 4_000_000
	eachTransport(t, func(t *testing.T, transport string) {
		m := machine(t, qcow2("vda", 64*mib))
		randomData(t, m, "vda", 0, 20*mib)
		o := trySync(t, m.Name(), "--transport", transport, "--rate", "4M")
		s := succeeded(t, o)
		if s.Transport != transport || s.SentBytes < 20*mib {
			t.Errorf("%+v", s)
		}
		// The source begins to send at the end of this phase, and not before.
		var took float64
		for _, e := range o.events {
			if e.Event == "phase_finished" && (e.Phase == "begin" || e.Phase == "transfer") {
				took += e.Duration
			}
		}
		least := float64(s.SentBytes) / rate
		if took < 0.95*least {
			t.Errorf("%d bytes took %.2f s, at this rate they take %.2f s", s.SentBytes, took, least)
		}
		t.Logf("%d bytes took %.3f s, exact is %.3f s: %+.2f %%", s.SentBytes, s.Transfer, least, (s.Transfer/least-1)*100)
		sameAsSource(t, m, "vda")
	})
}

func TestDirectPathCutWhileTheControllerReachesBothEnds(t *testing.T) {
	m := guest(t, qcow2("vda", 256*mib))
	inGuest(t, m, "sh", "-c", "dd if=/dev/urandom of=/mnt/vda/big bs=1M count=30 && sync")
	r := midTransfer(t, m, op_, fromThird(m.Name(), "--rate", "1M", "--compress", "none")...)
	began := time.Now()
	mend := cutDirect(t)
	// Left to itself, the kernel gives up after a quarter of an hour.
	eventually(t, "somebody noticed", func() bool { return zombie(r.cmd.Process.Pid) })
	t.Logf("noticed after %v", time.Since(began).Round(time.Second))
	e := failed(t, r.wait(), 1, "peer", m.Name(), "")
	t.Logf("%+v", e)
	thawed(t, m)
	if mf := manifest(t, m.Name()); mf != nil && mf.Head() != nil {
		t.Errorf("a state is listed: %+v", mf.Head())
	}
	nothingLeft(t, m)
	mend()
	if s := succeeded(t, start(t, op_, fromThird(m.Name())...).wait()); s.Transport != "direct" {
		t.Errorf("%+v", s)
	}
	nothingLeft(t, m)
}

func TestShortOutageOfTheDirectPathIsSurvived(t *testing.T) {
	m := busyMachine(t)
	r := midTransfer(t, m, op_, fromThird(m.Name(), "--rate", "2M", "--compress", "none")...)
	mend := cutDirect(t)
	time.Sleep(10 * time.Second)
	if zombie(r.cmd.Process.Pid) {
		t.Fatalf("the sync ended too early: %+v", r.wait())
	}
	mend()
	if s := succeeded(t, r.wait()); s.Transport != "direct" {
		t.Errorf("%+v", s)
	}
	sameAsSource(t, m, "vda", "vdb")
	nothingLeft(t, m)
}
