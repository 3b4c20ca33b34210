package notify

import (
	"crypto/tls"
	"errors"
	"io"
	"log"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"vmsync/internal/config"
)

// post is a mail server, and what it was given.
type post struct {
	mu     sync.Mutex
	ways   []string          // of logging in; none: nobody needs to
	unfit  map[string]string // recipients that it does not take, and with which reply
	from   string
	to     []string
	mails  []string
	logins []string // user:password
	secure []bool   // whether there was TLS, for each mail
}

type sitting struct {
	*post
	conn *smtp.Conn
	in   bool
}

func (p *post) NewSession(c *smtp.Conn) (smtp.Session, error) { return &sitting{post: p, conn: c}, nil }
func (s *sitting) Reset()                                     {}
func (s *sitting) Logout() error                              { return nil }
func (s *sitting) AuthMechanisms() []string                   { return s.ways }

func (s *sitting) Auth(way string) (sasl.Server, error) {
	check := func(user, password string) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.logins = append(s.logins, user+":"+password)
		if user != "vmsync" || password != "s3cret" {
			return &smtp.SMTPError{Code: 535, Message: "no: " + password}
		}
		s.in = true
		return nil
	}
	if way == "LOGIN" {
		return &loginServer{check: check}, nil
	}
	return sasl.NewPlainServer(func(_, user, password string) error { return check(user, password) }), nil
}

// loginServer is AUTH LOGIN, which is no standard.
type loginServer struct {
	check func(user, password string) error
	step  int
	user  string
}

func (l *loginServer) Next(said []byte) (challenge []byte, done bool, err error) {
	l.step++
	switch l.step {
	case 1:
		return []byte("Username:"), false, nil
	case 2:
		l.user = string(said)
		return []byte("Password:"), false, nil
	}
	return nil, true, l.check(l.user, string(said))
}

func (s *sitting) Mail(from string, _ *smtp.MailOptions) error {
	if len(s.ways) > 0 && !s.in {
		return smtp.ErrAuthRequired
	}
	s.from, s.to = from, nil
	return nil
}

func (s *sitting) Rcpt(to string, _ *smtp.RcptOptions) error {
	if reply := s.unfit[to]; reply != "" {
		code, _ := strconv.Atoi(reply[:3])
		return &smtp.SMTPError{Code: code, Message: reply[4:]}
	}
	s.to = append(s.to, to)
	return nil
}

func (s *sitting) Data(r io.Reader) error {
	data, err := io.ReadAll(r)
	s.mu.Lock()
	defer s.mu.Unlock()
	_, secure := s.conn.TLSConnectionState()
	s.mails, s.secure = append(s.mails, string(data)), append(s.secure, secure)
	return err
}

// serve runs a mail server; with a certificate it offers STARTTLS.
func (p *post) serve(t *testing.T, secure *tls.Certificate) (address string) {
	t.Helper()
	s := smtp.NewServer(p)
	s.Domain, s.ErrorLog = "localhost", log.New(io.Discard, "", 0)
	if secure != nil {
		s.TLSConfig = &tls.Config{Certificates: []tls.Certificate{*secure}}
	}
	l := listen(t)
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	t.Cleanup(func() { s.Close(); <-done })
	return l.Addr().String()
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// mailTo is a mail by a server, without TLS.
func mailTo(address string) *config.SMTP {
	_, port, _ := strings.Cut(address, ":")
	n, _ := strconv.Atoi(port)
	return &config.SMTP{Host: "127.0.0.1", Port: n, From: "vmsync@example.org", To: []string{"admin@example.org", "other@example.org"}}
}

// loginTo is a mail by a server that has a certificate, with a password in a file.
func loginTo(t *testing.T, address, password string) *config.SMTP {
	t.Helper()
	m := mailTo(address)
	m.Host, m.StartTLS, m.User, m.PasswordFile = "localhost", true, "vmsync", filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(m.PasswordFile, []byte(password), 0o600); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestMailIsReadable(t *testing.T) {
	p := &post{}
	m := mailTo(p.serve(t, nil))
	news := broken("ä-vm1")
	if err := sendTo(t, config.Notification{SMTP: m}, news); err != nil {
		t.Fatal(err)
	}
	if p.from != m.From || !slices.Equal(p.to, m.To) || p.secure[0] {
		t.Errorf("from %s to %v", p.from, p.to)
	}
	got, err := mail.ReadMessage(strings.NewReader(p.mails[0]))
	if err != nil {
		t.Fatal(err)
	}
	subject, err := (&mime.WordDecoder{}).DecodeHeader(got.Header.Get("Subject"))
	if err != nil || subject != "[vmsync hostb] ä-vm1: the replica is older than promised" {
		t.Errorf("%q, %v", subject, err)
	}
	for key, want := range map[string]string{"From": `"vmsync on hostb" <vmsync@example.org>`, "To": "<admin@example.org>, <other@example.org>",
		"Auto-Submitted": "auto-generated", "Content-Type": "text/plain; charset=UTF-8", "User-Agent": "vmsync/1.2"} {
		if value := got.Header.Get(key); value != want {
			t.Errorf("%s: %q", key, value)
		}
	}
	if id := got.Header.Get("Message-ID"); !strings.HasSuffix(id, ".vmsync@example.org>") {
		t.Errorf("%q", id)
	}
	if when, err := got.Header.Date(); err != nil || time.Since(when) > time.Minute {
		t.Errorf("%s, %v", when, err)
	}
	body, err := io.ReadAll(quotedprintable.NewReader(got.Body))
	want := strings.ReplaceAll("vmsync on hostb reports:\n\nThe replica is older than promised\n    ä-vm1 on hosta: since "+news.Since.Local().Format("2006-01-02 15:04:05 MST")+
		", the replica is 30m5s old, promised are 30m\n  Reason: connect to hosta: no route to host\n  What to do: see whether hosta is up\n\n-- \nHow everything stands: vmsync status\n", "\n", "\r\n")
	if err != nil || strings.TrimSpace(string(body)) != strings.TrimSpace(want) {
		t.Errorf("%q, %v", body, err)
	}
}

func TestNoTextBecomesAHeader(t *testing.T) {
	p := &post{}
	hostile := "vm1\r\nBcc: thief@example.org\r\n\r\n.\r\nQUIT\r\n\u202egnp.exe"
	news := broken(hostile)
	news.Message, news.Hint, news.Error.Message, news.Source = hostile, hostile, hostile+strings.Repeat("x", 9000), hostile
	news2 := news
	news2.Event = "\r\nBcc: thief@example.org"
	s := sender
	s.Host, s.Version = "host\r\nBcc: thief@example.org", "1\r\nBcc: thief@example.org"
	to := config.Notification{SMTP: mailTo(p.serve(t, nil)), Timeout: 20 * time.Second}
	for _, all := range [][]News{{news}, {news2}, {news, news2}} {
		if err := s.Send(t.Context(), "n", to, all); err != nil {
			t.Fatal(err)
		}
		sent := p.mails[len(p.mails)-1]
		got, err := mail.ReadMessage(strings.NewReader(sent))
		if err != nil || len(p.to) != 2 {
			t.Fatal(err, p.to)
		}
		if got.Header.Get("Bcc") != "" || len(got.Header) > 11 || len(sent) > 20000 || strings.Contains(sent, "\r\nQUIT") {
			t.Errorf("%s", sent)
		}
	}
}

func TestLoginIsMadeOverTLSByWhatTheServerOffers(t *testing.T) {
	for _, ways := range [][]string{{"PLAIN"}, {"LOGIN"}, {"CRAM-MD5", "LOGIN", "PLAIN"}} {
		p := &post{ways: ways}
		m := loginTo(t, p.serve(t, &served), "s3cret\r\nand a remark\n")
		if err := sendTo(t, config.Notification{SMTP: m}, broken("vm1")); err != nil {
			t.Errorf("%v: %v", ways, err)
		} else if len(p.mails) != 1 || !p.secure[0] || !slices.Equal(p.logins, []string{"vmsync:s3cret"}) {
			t.Errorf("%v: %+v", ways, p)
		}
		// The file is read each time: a new password counts at once.
		if err := os.WriteFile(m.PasswordFile, []byte("wrong-s3cret"), 0o600); err != nil {
			t.Fatal(err)
		}
		fails(t, sendTo(t, config.Notification{SMTP: m}, broken("vm1")), true, "log in as vmsync", "535", "password_file")
	}
}

func TestPasswordIsNotSentWhereItCouldBeRead(t *testing.T) {
	plain, fake, kerberos := &post{ways: []string{"PLAIN"}}, &post{ways: []string{"PLAIN"}}, &post{ways: []string{"GSSAPI"}}
	unread := loginTo(t, plain.serve(t, &served), "\n")
	without := loginTo(t, plain.serve(t, nil), "s3cret")
	forced := loginTo(t, plain.serve(t, nil), "s3cret")
	forced.StartTLS = false // no configuration can say that
	missing := loginTo(t, plain.serve(t, &served), "s3cret")
	missing.PasswordFile = "/nowhere"
	for name, c := range map[string]struct {
		to   *config.SMTP
		word string
	}{
		"no STARTTLS":            {without, "does not offer STARTTLS"},
		"login without TLS":      {forced, "not without STARTTLS"},
		"stranger's certificate": {loginTo(t, fake.serve(t, ptr(strange(t))), "s3cret"), "certificate"},
		"no password":            {unread, "first line"},
		"no file":                {missing, "password_file"},
		"no known way":           {loginTo(t, kerberos.serve(t, &served), "s3cret"), "neither"},
	} {
		fails(t, sendTo(t, config.Notification{SMTP: c.to}, broken("vm1")), false, "mail by", c.word)
		for _, p := range []*post{plain, fake, kerberos} {
			if len(p.logins)+len(p.mails) > 0 {
				t.Errorf("%s: %+v", name, p)
			}
		}
	}
}

func TestRecipientsThatAreRefusedCostTheOthersNothing(t *testing.T) {
	p := &post{unfit: map[string]string{"admin@example.org": "550 no such mailbox"}}
	m := mailTo(p.serve(t, nil))
	err := sendTo(t, config.Notification{SMTP: m}, broken("vm1"))
	fails(t, err, false, "it was sent, but not to all", "<admin@example.org>", "550", "no such mailbox")
	if e := (*PartlyError)(nil); !errors.As(err, &e) || len(p.mails) != 1 || !slices.Equal(p.to, []string{"other@example.org"}) {
		t.Errorf("%v %+v", err, p)
	}
	p.unfit["other@example.org"] = "450 come again"
	fails(t, sendTo(t, config.Notification{SMTP: m}, broken("vm1")), true, "550", "450")
	p.unfit["admin@example.org"] = "450 come again"
	fails(t, sendTo(t, config.Notification{SMTP: m}, broken("vm1")), false, "450")
	if len(p.mails) != 1 {
		t.Error("a mail to nobody was sent")
	}
}

// rude is a mail server that behaves as f does.
func rude(t *testing.T, f func(net.Conn)) *config.SMTP {
	t.Helper()
	l := listen(t)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); f(c) }()
		}
	}()
	return mailTo(l.Addr().String())
}

func TestMailServersThatMisbehave(t *testing.T) {
	say := func(text string) func(net.Conn) {
		return func(c net.Conn) { io.WriteString(c, text); io.Copy(io.Discard, c) }
	}
	for name, c := range map[string]struct {
		f       func(net.Conn)
		refused bool
		word    string
	}{
		"closes":          {func(net.Conn) {}, false, "the server's greeting"},
		"says nothing":    {say(""), false, "it took longer than 1s"},
		"hangs after all": {say("220 hello\r\n"), false, "it took longer than 1s"},
		"refuses":         {say("554 go away\r\n"), true, "554"},
		"is busy":         {say("421 later\r\n"), false, "421"},
		"no line ends": {func(c net.Conn) {
			for range 10000 {
				if _, err := c.Write(make([]byte, 4096)); err != nil {
					return
				}
			}
		}, false, "says too much"},
	} {
		t.Run(name, func(t *testing.T) {
			fails(t, sendTo(t, config.Notification{SMTP: rude(t, c.f), Timeout: time.Second}, broken("vm1")), c.refused, "mail by 127.0.0.1:", c.word)
		})
	}
}
