package remote

import (
	"context"

	"github.com/creachadair/jrpc2"
)

// methodCancel is a notification from the controller.
const methodCancel = "cancel"

type cancelRequest struct {
	ID string `json:"id"` // of the call
}

// tellCanceled has the agent end a call that nobody waits for any more: it runs one method
// at a time, and there may be more to come.
func tellCanceled(client *jrpc2.Client, call *jrpc2.Response) {
	_ = client.Notify(context.Background(), methodCancel, cancelRequest{ID: call.ID()}) // or the connection is broken
}

func cancelCall(ctx context.Context, r cancelRequest) error {
	jrpc2.ServerFromContext(ctx).CancelRequest(r.ID)
	return nil
}
