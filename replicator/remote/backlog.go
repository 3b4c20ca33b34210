package remote

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/creachadair/jrpc2"
)

// maxBacklog is how many messages may wait until others are served. A controller has a call
// and a ping under way, and Serve serves several at a time.
const maxBacklog = 8

var errFlood = errors.New("the controller sends more than can be served")

// backlog counts messages that have arrived and are not served yet: jrpc2 takes any number
// of them into memory. It implements [jrpc2.RPCLogger], which tells it of those whose turn has
// come.
type backlog struct{ waiting atomic.Int64 }

// add counts one in, and fails if that is one too many.
func (b *backlog) add() error {
	if b.waiting.Add(1) > maxBacklog {
		return errFlood
	}
	return nil
}

// LogRequest implements [jrpc2.RPCLogger].
func (b *backlog) LogRequest(context.Context, *jrpc2.Request) { b.waiting.Add(-1) }

// LogResponse implements [jrpc2.RPCLogger].
func (b *backlog) LogResponse(context.Context, *jrpc2.Response) {}
