package config

import (
	"fmt"
	"net/mail"
	"net/url"
	"strings"
	"time"
)

// Event is what may be told of.
type Event string

// Events.
const (
	RPOBroken Event = "rpo_broken" // a replica is older than promised
	Failed    Event = "failed"     // a sync failed, and was not just busy
	Recovered Event = "recovered"  // the first good sync after either
)

// Notification is a way to tell somebody. One of Webhook, Command and SMTP is set.
type Notification struct {
	Webhook string   // URL, http or https
	Command []string // program, absolute path, and arguments
	SMTP    *SMTP
	Timeout time.Duration // of one attempt, 1s to 10m
	Events  []Event       // never empty
}

// SMTP is a mail to send.
type SMTP struct {
	Host         string
	Port         int // 1 to 65535
	From         string
	To           []string // never empty
	User         string   // empty: no login
	PasswordFile string   // absolute path; its first line is the password
	StartTLS     bool     // required; else it is never used
}

const (
	defaultNotifyTimeout = 10 * time.Second
	defaultSMTPPort      = 587
	// portTLS is for TLS from the first byte on, which is not STARTTLS.
	portTLS = 465
)

func readNotification(s section) Notification {
	n := Notification{
		Timeout: orElse(s, "timeout", defaultNotifyTimeout, between(time.Second, 10*time.Minute)),
		Events:  many(s, "events", oneOf(RPOBroken, Failed, Recovered)),
		Webhook: orElse(s, "webhook", "", webURL),
		Command: readCommand(s, "command"),
	}
	if len(n.Command) > 0 {
		checkProgram(s, n.Command[0])
	}
	if s.values["smtp"] != nil {
		n.SMTP = readSMTP(s.child("smtp", smtpKeys()))
	}
	var ways []string
	for _, key := range []string{"webhook", "command", "smtp"} {
		if s.values[key] != nil {
			ways = append(ways, key)
		}
	}
	if len(ways) == 0 && !s.wrong {
		s.f.add(s.position, "%s says no way: give webhook, command or smtp", s.name)
	}
	for _, key := range ways[min(1, len(ways)):] {
		s.f.add(s.at(key), "%s and %s exclude each other: make two notifications of them", ways[0], key)
	}
	if s.values["events"] == nil {
		n.Events = []Event{RPOBroken, Failed, Recovered}
	} else if n := s.values["events"]; n.kind == list && len(n.items) == 0 {
		s.f.add(s.at("events"), "events: there are none: leave the key out for all of them")
	}
	return n
}

func readSMTP(s section) *SMTP {
	m := &SMTP{
		Host:         orElse(s, "host", "", hostName),
		Port:         orElse(s, "port", defaultSMTPPort, number(1, 65535)),
		From:         orElse(s, "from", "", mailAddress),
		To:           many(s, "to", mailAddress),
		User:         orElse(s, "user", "", plain),
		PasswordFile: orElse(s, "password_file", "", absolute),
		StartTLS:     orElse(s, "starttls", true, yesOrNo),
	}
	s.need("host", "host: mail.example.org")
	s.need("from", "from: vmsync@example.org")
	if s.need("to", "to: [admin@example.org]") && m.To != nil && len(m.To) == 0 && len(s.values["to"].items) == 0 {
		s.f.add(s.at("to"), "to: nobody is named: write to: [admin@example.org]")
	}
	login := s.values["user"] != nil
	switch {
	case login != (s.values["password_file"] != nil):
		s.f.add(s.position, "user and password_file belong together: give both, or neither")
	case login && !m.StartTLS:
		s.f.add(s.at("starttls"), "starttls: without it the password could be read on its way: remove starttls: no, or user and password_file")
	case m.Port == portTLS:
		s.f.add(s.at("port"), "port: 465 is for TLS without STARTTLS, which is not supported: use 587")
	}
	return m
}

func webURL(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || strings.ContainsFunc(text, unprintable) {
		return "", fmt.Errorf("%q is no web address: write one that begins with https://", text)
	}
	return text, nil
}

func mailAddress(text string) (string, error) {
	a, err := mail.ParseAddress(text)
	if err != nil || strings.ContainsFunc(text, unprintable) {
		return "", fmt.Errorf("%q is no mail address: write one like admin@example.org", text)
	}
	return a.Address, nil
}

func hostName(text string) (string, error) {
	if text == "" || strings.ContainsAny(text, " /:@") && strings.Count(text, ":") < 2 || strings.ContainsFunc(text, unprintable) {
		return "", fmt.Errorf("%q is no host: write its name or address, without a port", text)
	}
	return text, nil
}
