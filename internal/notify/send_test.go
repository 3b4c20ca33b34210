package notify

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"vmsync/internal/config"
	"vmsync/internal/history"
)

var sender = Sender{Host: "hostb", Version: "1.2"}

// began is when things went wrong in these tests.
var began = time.Date(2026, 11, 22, 5, 0, 3, 0, time.UTC)

func broken(domain string) News {
	return News{ID: "id-" + domain, Event: config.RPOBroken, Time: began.Add(5 * time.Second), Domain: domain, Source: "hosta", TargetDomain: domain,
		Message: "the replica is older than promised", Since: began, Error: &history.RunError{Kind: "unreachable", Message: "connect to hosta: no route to host"},
		Hint: "see whether hosta is up", Fresh: began.Add(-30 * time.Minute), Age: 1805.2, RPO: 1800}
}

// sendTo sends news to a destination, with a timeout that no test reaches unless it wants to.
func sendTo(t *testing.T, to config.Notification, news ...News) error {
	t.Helper()
	if to.Timeout == 0 {
		to.Timeout = 20 * time.Second
	}
	began := time.Now()
	err := sender.Send(t.Context(), "chat", to, news)
	if took := time.Since(began); took > to.Timeout+5*time.Second {
		t.Errorf("it took %s", took)
	}
	return err
}

// fails checks that an error says all of some words and none of the secrets.
func fails(t *testing.T, err error, refused bool, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q is not in: %v", w, err)
		}
	}
	if strings.Contains(err.Error(), "s3cret") {
		t.Errorf("a secret is in: %v", err)
	}
	if e := (*RefusedError)(nil); errors.As(err, &e) != refused {
		t.Errorf("refused %v: %v", !refused, err)
	}
}

func TestGivenUpSendingSaysSo(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, to := range map[string]config.Notification{
		"webhook": {Webhook: "http://127.0.0.1:9/s3cret"},
		"command": {Command: []string{"/bin/true"}},
		"mail":    {SMTP: mailTo("127.0.0.1:9")},
	} {
		to.Timeout = time.Second
		if err := sender.Send(ctx, "n", to, []News{broken("vm1")}); !errors.Is(err, context.Canceled) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
