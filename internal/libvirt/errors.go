package libvirt

import (
	"errors"
	"fmt"

	lv "libvirt.org/go/libvirt"
)

// What an *Error is, for errors.Is.
var (
	ErrDisconnected           = errors.New("libvirt is not reachable")
	ErrDenied                 = errors.New("libvirt denies access")
	ErrNoDomain               = errors.New("no such domain")
	ErrNoCheckpoint           = errors.New("no such checkpoint")
	ErrNoBackup               = errors.New("no backup job")
	ErrCheckpointInconsistent = errors.New("a checkpoint's bitmap is missing or broken")
	// ErrOperationInvalid: not possible in the domain's present state.
	ErrOperationInvalid = errors.New("not possible in the domain's state")
	ErrUnsupported      = errors.New("not supported for this domain or by this libvirt")
	ErrInvalidArg       = errors.New("invalid argument")
	// ErrOperationFailed: refused or failed, among others because a name is taken.
	ErrOperationFailed = errors.New("operation failed")
	// ErrTimeout: another call on the same domain held it for too long.
	ErrTimeout = errors.New("timed out in libvirt")
	// ErrAgentUnresponsive: no guest agent, or one that does not answer. What it was
	// told may still happen.
	ErrAgentUnresponsive = errors.New("the guest agent does not respond")
	// ErrAgentCommand: the guest agent answered with an error. Older libvirts say
	// only ErrInternal.
	ErrAgentCommand = errors.New("the guest agent refuses")
	// ErrInternal is libvirt's code for everything it has no code for; qemu's
	// refusals are among it.
	ErrInternal = errors.New("libvirt internal error")
)

var errClosed = errors.New("the connection is closed")

// Error is a failed call.
type Error struct {
	Op     string // what was being done
	Domain string // name of the domain, if it was about one
	// Kind is one of the Err values; nil when it is none of them, or when the
	// caller's context ended. A libvirt that hangs is ErrDisconnected.
	Kind error
	Code int   // libvirt's error number; 0 when libvirt did not answer
	Err  error // the cause: lv.Error or the context's
}

// Error says what failed and with which words of libvirt.
func (e *Error) Error() string {
	if e.Domain == "" {
		return e.Op + ": " + e.Text()
	}
	return fmt.Sprintf("%s (domain %s): %s", e.Op, e.Domain, e.Text())
}

// Text is libvirt's words alone, for a caller that says by itself what it was doing
// to which domain.
func (e *Error) Text() string {
	text := e.Err.Error()
	if raw, ok := errors.AsType[lv.Error](e.Err); ok {
		text = raw.Message
	}
	if e.Kind == ErrDisconnected || e.Kind == ErrDenied {
		text = e.Kind.Error() + ": " + text
	}
	return text
}

// Is makes errors.Is(err, ErrNoDomain) work.
func (e *Error) Is(target error) bool { return e.Kind != nil && e.Kind == target }

// Unwrap returns the cause, among them context.Canceled and DeadlineExceeded.
func (e *Error) Unwrap() error { return e.Err }

func newError(op, domain string, err error, lost bool) *Error {
	e := &Error{Op: op, Domain: domain, Err: err}
	if raw, ok := errors.AsType[lv.Error](err); ok {
		e.Code = int(raw.Code)
		e.Kind = kindOf(raw.Code)
	}
	// Without a connection every code but a refusal means the same.
	if lost && e.Kind != ErrDenied {
		e.Kind = ErrDisconnected
	}
	return e
}

// kindOf maps libvirt's codes.
func kindOf(code lv.ErrorNumber) error {
	switch code {
	case lv.ERR_NO_DOMAIN:
		return ErrNoDomain
	case lv.ERR_NO_DOMAIN_CHECKPOINT:
		return ErrNoCheckpoint
	case lv.ERR_NO_DOMAIN_BACKUP:
		return ErrNoBackup
	case lv.ERR_CHECKPOINT_INCONSISTENT:
		return ErrCheckpointInconsistent
	case lv.ERR_OPERATION_INVALID:
		return ErrOperationInvalid
	case lv.ERR_OPERATION_UNSUPPORTED, lv.ERR_CONFIG_UNSUPPORTED, lv.ERR_NO_SUPPORT, lv.ERR_ARGUMENT_UNSUPPORTED:
		return ErrUnsupported
	case lv.ERR_INVALID_ARG, lv.ERR_XML_ERROR, lv.ERR_XML_INVALID_SCHEMA, lv.ERR_XML_DETAIL:
		return ErrInvalidArg
	case lv.ERR_OPERATION_FAILED, lv.ERR_DOM_EXIST:
		return ErrOperationFailed
	case lv.ERR_OPERATION_TIMEOUT:
		return ErrTimeout
	case lv.ERR_AGENT_UNRESPONSIVE, lv.ERR_AGENT_UNSYNCED, lv.ERR_AGENT_COMMAND_TIMEOUT:
		return ErrAgentUnresponsive
	case lv.ERR_AGENT_COMMAND_FAILED:
		return ErrAgentCommand
	case lv.ERR_OPERATION_DENIED, lv.ERR_AUTH_FAILED, lv.ERR_AUTH_CANCELLED, lv.ERR_AUTH_UNAVAILABLE, lv.ERR_ACCESS_DENIED:
		return ErrDenied
	case lv.ERR_RPC, lv.ERR_NO_CONNECT, lv.ERR_INVALID_CONN:
		return ErrDisconnected
	case lv.ERR_INTERNAL_ERROR:
		return ErrInternal
	default:
		return nil
	}
}
