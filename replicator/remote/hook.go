package remote

import (
	"context"

	"github.com/creachadair/jrpc2"

	"vmsync/replicator"
)

// Methods of hooks.
const (
	methodOnSource = "source.hook"
	methodOnTarget = "target.hook"
	methodOutput   = "output" // notification from the agent
)

type hookRequest struct {
	replicator.HookRequest
	// Serial tells the lines of one hook from those of another, which may come late from
	// one that was canceled.
	Serial int64 `json:"serial"`
}

// outputLine is a line that a hook wrote.
type outputLine struct {
	Serial int64  `json:"serial"`
	Line   string `json:"line"`
}

// output is who takes the lines of the hook that runs now.
type output struct {
	serial int64
	line   func(string)
}

// hook is a call that reports lines of output while it lasts.
func hook(ctx context.Context, c *Conn, method string, r replicator.HookRequest, line func(string)) error {
	serial := c.onOutput(line)
	defer c.onOutput(nil)
	_, err := call[struct{}](ctx, c, method, hookRequest{r, serial})
	return err
}

func (c *Conn) onOutput(line func(string)) (serial int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.output = output{c.output.serial + 1, line}
	return c.output.serial
}

func (c *Conn) wrote(l outputLine) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.output.line != nil && c.output.serial == l.Serial {
		c.output.line(l.Line)
	}
}

// hookAndPush runs a hook and sends what it writes.
func hookAndPush[End interface {
	Hook(context.Context, replicator.HookRequest, func(string)) error
}](e End, ctx context.Context, req hookRequest) (struct{}, error) {
	srv := jrpc2.ServerFromContext(ctx)
	return struct{}{}, e.Hook(ctx, req.HookRequest, func(line string) {
		_ = srv.Notify(ctx, methodOutput, outputLine{req.Serial, line})
	})
}
