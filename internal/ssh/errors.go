package ssh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// Op says at which step a connection failed.
type Op string

// The steps of a connection.
const (
	OpConnect   Op = "connect"      // no connection to the host's port
	OpHandshake Op = "handshake"    // connected, but no SSH session
	OpAuth      Op = "authenticate" // the host accepts none of the keys
	OpLost      Op = "lost"         // an established connection broke or was closed
)

// ConnectError is a connection that could not be made or broke.
type ConnectError struct {
	Op   Op
	Host string // as the user named it
	Err  error
	Hint string // what to look at next; may be empty
}

func (e *ConnectError) Error() string {
	if e.Hint != "" {
		return e.Problem() + ": " + e.Hint
	}
	return e.Problem()
}

// Problem says what is wrong.
func (e *ConnectError) Problem() string {
	var what string
	switch e.Op {
	case OpConnect:
		what = "cannot connect to " + e.Host
	case OpHandshake:
		what = "no SSH session with " + e.Host
	case OpAuth:
		what = "login refused by " + e.Host
	default:
		what = "connection to " + e.Host + " ended"
	}
	return fmt.Sprintf("%s: %v", what, e.Err)
}

// Advice says what to do about it; may be empty.
func (e *ConnectError) Advice() string { return e.Hint }

func (e *ConnectError) Unwrap() error { return e.Err }

// ConfigError is a setting that cannot be used.
type ConfigError struct {
	File string // empty when it is not about a file
	Err  error
	Hint string
}

func (e *ConfigError) Error() string {
	s := "ssh configuration"
	if e.File != "" {
		s += " " + e.File
	}
	s += ": " + e.Err.Error()
	if e.Hint != "" {
		s += ": " + e.Hint
	}
	return s
}

func (e *ConfigError) Unwrap() error { return e.Err }

var errClosed = fmt.Errorf("closed by this program: %w", net.ErrClosed)

// errPeerClosed is not io.EOF, which readers of a stream would take for its proper
// end.
var errPeerClosed = fmt.Errorf("the other side closed it: %w", io.ErrUnexpectedEOF)

// timeoutError is a limit that was exceeded.
type timeoutError time.Duration

func (e timeoutError) Error() string {
	return fmt.Sprintf("no answer within %s", time.Duration(e))
}

func (timeoutError) Timeout() bool { return true }

func (timeoutError) Is(target error) bool {
	return target == context.DeadlineExceeded || target == os.ErrDeadlineExceeded
}

func errTimeout(d time.Duration) error { return timeoutError(d) }

// connectHint says what to look at when connecting failed.
func connectHint(err error, host, address string) string {
	var dns *net.DNSError
	var timeout interface{ Timeout() bool }
	switch {
	case errors.As(err, &dns):
		return fmt.Sprintf("check the name %q, or give it a HostName in ~/.ssh/config", host)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Sprintf("is sshd running there, and is %s where it listens?", address)
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "is the host up and is there a route to it?"
	case errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Sprintf("is the host up, and does every firewall on the way let %s through?", address)
	}
	return ""
}
