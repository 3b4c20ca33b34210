package notify

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	netmail "net/mail"
	"net/textproto"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/wneessen/go-mail"
	"github.com/wneessen/go-mail/smtp"

	"vmsync/internal/config"
)

const (
	maxReplies  = 256 << 10 // bytes of a mail server's replies
	maxPassword = 4 << 10   // bytes of a password's file
)

// mail sends a message by mail: to all of the recipients that the server takes. One that it
// does not take costs the others nothing.
func (s Sender) mail(ctx context.Context, to *config.SMTP, m *Message) error {
	content, err := s.mailOf(to, m)
	if err != nil {
		return err
	}
	address := net.JoinHostPort(to.Host, strconv.Itoa(to.Port))
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("mail by %s: %w", address, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if err := s.submit(&bounded{Conn: conn, left: maxReplies}, to, content); err != nil {
		err = fmt.Errorf("mail by %s: %w", address, err)
		if partly := (*PartlyError)(nil); errors.As(err, &partly) {
			return err
		}
		if reply := (*textproto.Error)(nil); errors.As(err, &reply) && reply.Code >= 500 {
			return &RefusedError{err}
		}
		return err
	}
	return nil
}

// submit speaks SMTP over a connection.
func (s Sender) submit(conn net.Conn, to *config.SMTP, content *mail.Msg) error {
	c, err := smtp.NewClient(conn, to.Host)
	if err != nil {
		return fmt.Errorf("the server's greeting: %w", err)
	}
	if err := c.Hello(helo(s.Host)); err != nil {
		return fmt.Errorf("EHLO: %w", err)
	}
	if to.StartTLS {
		if offered, _ := c.Extension("STARTTLS"); !offered {
			return errors.New("the server does not offer STARTTLS, and nothing is sent without; see starttls in the configuration")
		}
		if err := c.StartTLS(&tls.Config{ServerName: to.Host, MinVersion: tls.VersionTLS12}); err != nil {
			return fmt.Errorf("STARTTLS: %w", err)
		}
	}
	if to.User != "" {
		if err := login(c, to); err != nil {
			return err
		}
	}
	sender, err := content.GetSender(false)
	if err != nil {
		return fmt.Errorf("from: %w", err)
	}
	if err := c.Mail(sender); err != nil {
		return fmt.Errorf("from %s: %w", sender, err)
	}
	recipients, err := content.GetRecipients()
	if err != nil {
		return fmt.Errorf("to: %w", err)
	}
	var refused []error
	for _, r := range recipients {
		if err := c.Rcpt(r); err != nil {
			refused = append(refused, fmt.Errorf("to %s: %w", r, err))
		}
	}
	if len(refused) == len(recipients) {
		return errors.Join(refused...)
	}
	w, err := c.Data()
	if err != nil {
		return fmt.Errorf("DATA: %w", err)
	}
	if _, err := content.WriteTo(w); err != nil {
		return fmt.Errorf("send the mail: %w", err)
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("send the mail: %w", err)
	}
	_ = c.Quit() // the server has taken the mail
	if len(refused) > 0 {
		return &PartlyError{errors.Join(refused...)}
	}
	return nil
}

// PartlyError says that a mail was taken, but not for all recipients.
type PartlyError struct{ Err error }

func (e *PartlyError) Error() string { return "it was sent, but not to all: " + e.Err.Error() }
func (e *PartlyError) Unwrap() error { return e.Err }

// login logs in, by the way that the server offers, and only over TLS.
func login(c *smtp.Client, to *config.SMTP) error {
	if _, secure := c.TLSConnectionState(); !secure {
		return errors.New("log in: not without STARTTLS")
	}
	password, err := readPassword(to.PasswordFile)
	if err != nil {
		return err
	}
	_, offered := c.Extension("AUTH")
	ways := strings.Fields(strings.ToUpper(offered))
	auth := smtp.PlainAuth("", to.User, password, to.Host, false)
	switch {
	case slices.Contains(ways, "PLAIN"):
	case slices.Contains(ways, "LOGIN"):
		auth = smtp.LoginAuth(to.User, password, to.Host, false)
	default:
		return errors.New("log in: the server offers neither AUTH PLAIN nor AUTH LOGIN")
	}
	if err := c.Auth(auth); err != nil {
		// What the server says is left out: it has just been told the password.
		if reply := (*textproto.Error)(nil); errors.As(err, &reply) {
			return fmt.Errorf("log in as %s: %w", to.User, &textproto.Error{Code: reply.Code, Msg: "refused; see user and password_file in the configuration"})
		}
		return fmt.Errorf("log in as %s: the connection broke or the server is confused", to.User)
	}
	return nil
}

// readPassword reads a file's first line.
func readPassword(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("password_file: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxPassword))
	if err != nil {
		return "", fmt.Errorf("password_file: %w", err)
	}
	first, _, _ := strings.Cut(string(data), "\n")
	if first = strings.TrimSuffix(first, "\r"); first == "" {
		return "", fmt.Errorf("password_file: the first line of %s is empty", path)
	}
	return first, nil
}

// mailOf writes a message as a mail. All headers are encoded by the library, so that no
// text can become a header of its own.
func (s Sender) mailOf(to *config.SMTP, m *Message) (*mail.Msg, error) {
	c := mail.NewMsg(mail.WithNoDefaultUserAgent())
	c.FromMailAddress(&netmail.Address{Name: "vmsync on " + m.Host, Address: to.From})
	if err := c.To(to.To...); err != nil {
		return nil, fmt.Errorf("mail to %s: %w", strings.Join(to.To, ", "), err)
	}
	c.Subject(m.Subject)
	c.SetDateWithValue(m.Sent)
	c.SetMessageIDWithValue(m.ID + ".vmsync" + to.From[strings.LastIndexByte(to.From, '@'):])
	c.SetGenHeader("Auto-Submitted", "auto-generated") // RFC 3834: nobody is to answer
	c.SetGenHeader("User-Agent", "vmsync/"+s.Version)
	c.SetBodyString(mail.TypeTextPlain, m.Text+"\n-- \nHow everything stands: vmsync status\n")
	return c, nil
}

// helo is a host's name as SMTP takes it.
func helo(host string) string {
	if host == "" || strings.ContainsFunc(host, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "localhost"
	}
	return host
}

// bounded is a connection of which only so much is read.
type bounded struct {
	net.Conn
	left int
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errors.New("the server says too much")
	}
	n, err := b.Conn.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}
