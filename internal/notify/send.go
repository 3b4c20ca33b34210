package notify

import (
	"context"
	"errors"
	"fmt"
	"time"

	"vmsync/internal/config"
)

// Sender sends messages. Its methods may be called from several goroutines.
type Sender struct {
	Host    string // on which the service runs, for people
	Version string // of the program
}

// RefusedError is a failure that will hardly be cured by trying again: the other side has
// understood, and said no. It unwraps to the reason.
type RefusedError struct{ Err error }

func (e *RefusedError) Error() string { return e.Err.Error() }
func (e *RefusedError) Unwrap() error { return e.Err }

// Send sends news to a destination, once, within its timeout. name is what the configuration
// calls the destination. The error says what went wrong and has no secrets in it; it may be
// a [*RefusedError].
func (s Sender) Send(ctx context.Context, name string, to config.Notification, news []News) error {
	late := fmt.Errorf("it took longer than %s (timeout)", to.Timeout)
	ctx, cancel := context.WithTimeoutCause(ctx, to.Timeout, late)
	defer cancel()
	m := messageOf(s.Host, news, time.Now())
	var err error
	switch {
	case to.Webhook != "":
		err = s.post(ctx, to.Webhook, m)
	case to.SMTP != nil:
		err = s.mail(ctx, to.SMTP, m)
	default:
		err = s.run(ctx, name, to.Command, m)
	}
	if err != nil && ctx.Err() != nil && !errors.Is(err, late) {
		err = fmt.Errorf("%w: %w", context.Cause(ctx), err)
	}
	return err
}
