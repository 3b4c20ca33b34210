package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"slices"
	"strings"
	gosync "sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"vmsync/internal/api"
	"vmsync/internal/config"
	"vmsync/internal/notify"
	"vmsync/tests/lab"
)

// TestAnOutageIsToldAndItsEnd has the service tell a webhook, a mail server and a program of
// a source whose link is cut, and of its return; in between the service is started anew.
func TestAnOutageIsToldAndItsEnd(t *testing.T) {
	m := makeMachine(t, lab.MachineSpec{Name: "notify-one", Disks: []lab.DiskSpec{qcow2("vda", 64*mib)}})
	in := openInbox(t)
	text := serviceHead + in.config + "machines: [{name: notify-one, every: 5s, max_age: 15s}]\n"

	configure(t, text)
	admins(t, "notify", "test").ok(t, "chat: sent", "mail: sent", "script: sent")
	in.expect(t, "the test", notify.Test)
	admins(t, "notify", "test", "nobody").exits(t, 2, "known are chat, mail, script")

	startService(t, text)
	awaits(t, "is replicated", m.Name(), well)
	plug(t, hosta, false)
	t.Cleanup(func() { plug(t, hosta, true) })
	in.expect(t, "the outage", config.Failed, config.RPOBroken)
	on(t, hostb, "systemctl", "restart", "vmsync")
	awaits(t, "is older than promised", m.Name(), func(m api.Machine) bool { return m.Broken() })
	time.Sleep(45 * time.Second) // long enough for a run that was due, and for what follows another message
	in.expect(t, "a restart in the outage")
	plug(t, hosta, true)
	awaits(t, "is replicated again", m.Name(), well)
	in.expect(t, "its end", config.Recovered)
	on(t, hostb, "systemctl", "restart", "vmsync")
	awaits(t, "is replicated still", m.Name(), well)
	time.Sleep(10 * time.Second)
	in.expect(t, "another restart")

	log := journal(t)
	if strings.Contains(log, "s3cret") || strings.Count(log, "notification sent") < 6 || strings.Contains(log, "notification failed") {
		t.Errorf("%s", log)
	}
	on(t, hostb, "systemctl", "stop", "vmsync")
	nothingLeft(t, m)
}

// inbox is what came to the receivers: a webhook and a mail server on op, and a program on
// hostb.
type inbox struct {
	config string // of the notifications

	mu    gosync.Mutex
	hooks []notify.Message
	mails []string
	seen  int // messages that were looked at, of hooks
	run   int // of the program
	mail  int
}

const tellFile = "/var/lib/vmsync-service/told"

// openInbox begins to receive.
func openInbox(t *testing.T) *inbox {
	t.Helper()
	in := &inbox{}
	secure := trusted(t)
	hook, post := listenOn(t, op_), listenOn(t, op_)
	web := &http.Server{Handler: http.HandlerFunc(in.hook)}
	mail := smtp.NewServer(in)
	mail.Domain, mail.TLSConfig = "op", secure
	var serving gosync.WaitGroup
	serving.Go(func() { _ = web.Serve(tls.NewListener(hook, secure)) })
	serving.Go(func() { _ = mail.Serve(post) })
	t.Cleanup(func() { web.Close(); mail.Close(); serving.Wait() })

	script := "#!/bin/sh\nset -e\necho \"$VMSYNC_EVENT $VMSYNC_DOMAIN\" > \"$1.env\"\ncat >> \"$1\"\n"
	if err := hostb.WriteFile("/usr/local/sbin/tell", []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := hostb.WriteFile("/root/mail-password", []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	on(t, hostb, "mkdir", "-p", "/var/lib/vmsync-service")
	_, port, _ := net.SplitHostPort(post.Addr().String())
	in.config = fmt.Sprintf("notifications:\n  chat: {webhook: 'https://%s/hooks/s3cret?key=s3cret'}\n"+
		"  mail: {smtp: {host: %s, port: %s, from: vmsync@example.org, to: admin@example.org, user: vmsync, password_file: /root/mail-password}}\n"+
		"  script: {command: [/usr/local/sbin/tell, %s]}\n", hook.Addr(), op_.Addr(), port, tellFile)
	return in
}

func listenOn(t *testing.T, h *lab.Host) net.Listener {
	t.Helper()
	l, err := h.Listen(t.Context(), "tcp", net.JoinHostPort(h.Addr(), "0"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// trusted is a certificate for op which hostb trusts, as an administrator makes a system
// trust it.
func trusted(t *testing.T) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(time.Now().Unix()), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.ParseIP(op_.Addr())}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	const file = "/etc/ssl/certs/notify-e2e.pem"
	if err := hostb.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := cleanupContext()
		defer cancel()
		_, _ = hostb.Run(ctx, "rm", "-f", file)
	})
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

func (in *inbox) hook(w http.ResponseWriter, r *http.Request) {
	var m notify.Message
	data, err := io.ReadAll(r.Body)
	if err != nil || json.Unmarshal(data, &m) != nil || r.URL.String() != "/hooks/s3cret?key=s3cret" {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	in.hooks = append(in.hooks, m)
}

// The mail server: who logs in may send.
type sitting struct {
	in     *inbox
	logged bool
}

func (in *inbox) NewSession(*smtp.Conn) (smtp.Session, error) { return &sitting{in: in}, nil }
func (s *sitting) Reset()                                     {}
func (s *sitting) Logout() error                              { return nil }
func (s *sitting) AuthMechanisms() []string                   { return []string{sasl.Plain} }
func (s *sitting) Rcpt(string, *smtp.RcptOptions) error       { return nil }

func (s *sitting) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if s.logged = user == "vmsync" && password == "s3cret"; !s.logged {
			return smtp.ErrAuthFailed
		}
		return nil
	}), nil
}

func (s *sitting) Mail(string, *smtp.MailOptions) error {
	if !s.logged {
		return smtp.ErrAuthRequired
	}
	return nil
}

func (s *sitting) Data(r io.Reader) error {
	data, err := io.ReadAll(r)
	s.in.mu.Lock()
	defer s.in.mu.Unlock()
	s.in.mails = append(s.in.mails, string(data))
	return err
}

// events are those of messages.
func events(all []notify.Message) (es []config.Event) {
	for _, m := range all {
		for _, n := range m.News {
			es = append(es, n.Event)
		}
	}
	slices.Sort(es)
	return es
}

// messages are what the program was given so far.
func (in *inbox) messages(t *testing.T) (all []notify.Message) {
	t.Helper()
	data, err := hostb.ReadFile(tellFile)
	if err != nil {
		return nil
	}
	for _, line := range strings.Split(strings.TrimSpace(string(data)), "\n") {
		var m notify.Message
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		all = append(all, m)
	}
	return all
}

// expect waits until these events, in the order of their names, have come to all receivers
// since the last call, and checks that nothing else has.
func (in *inbox) expect(t *testing.T, what string, want ...config.Event) {
	t.Helper()
	var hooks, program []notify.Message
	var mails []string
	eventually(t, what+" is told", func() bool {
		ran := in.messages(t)
		in.mu.Lock()
		defer in.mu.Unlock()
		hooks, mails, program = in.hooks[in.seen:], in.mails[in.mail:], ran[in.run:]
		return len(events(hooks)) >= len(want) && len(mails) >= len(hooks) && len(events(program)) >= len(want)
	})
	in.mu.Lock()
	defer in.mu.Unlock()
	if got, ran := events(hooks), events(program); !slices.Equal(got, want) || !slices.Equal(ran, want) {
		t.Fatalf("of %s: the webhook was told %v, the program %v; want %v", what, got, ran, want)
	}
	for _, e := range want {
		subject := map[config.Event]string{notify.Test: "this is a test", config.Failed: "cannot be synced", config.RPOBroken: "older than promised", config.Recovered: "as fresh as promised"}[e]
		if !strings.Contains(strings.ReplaceAll(strings.Join(mails, "\n"), "=\r\n", ""), subject) {
			t.Errorf("of %s: no mail says %q:\n%s", what, subject, mails)
		}
	}
	for _, m := range hooks {
		for _, n := range m.News {
			if n.Event != notify.Test && (n.Domain != "notify-one" || n.Source != "hosta" || n.RPO != 15) ||
				(n.Event == config.Failed || n.Event == config.RPOBroken) && (n.Hint == "" || n.Since.IsZero() || n.Age < 1) {
				t.Errorf("%+v", n)
			}
		}
		data, _ := json.MarshalIndent(m, "", "  ")
		t.Logf("%s: %s", what, data)
	}
	if len(mails) > 0 {
		t.Logf("%s: %s", what, mails[len(mails)-1])
	}
	in.seen, in.mail, in.run = len(in.hooks), len(in.mails), in.run+len(program)
	if env, err := hostb.ReadFile(tellFile + ".env"); err != nil || len(want) == 1 && strings.TrimSpace(string(env)) != strings.TrimSpace(string(want[0])+" "+hooks[0].News[0].Domain) {
		t.Errorf("the program's environment: %q, %v", env, err)
	}
}
