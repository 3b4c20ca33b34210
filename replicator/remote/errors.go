package remote

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/creachadair/jrpc2"

	"vmsync/replicator"
)

// codeTyped marks an error whose data is a replicator.Error.
const codeTyped jrpc2.Code = 1

// encodeError makes an error that survives the way to the controller with its
// kind, domain, disk and hint.
func encodeError(err error) error {
	if err == nil {
		return nil
	}
	var e *replicator.Error
	if !errors.As(err, &e) {
		e = &replicator.Error{Kind: replicator.KindOther, Err: err}
	}
	return jrpc2.Errorf(codeTyped, "%s", err.Error()).WithData(e)
}

// decodeError is the reverse of encodeError.
func decodeError(err error) error {
	var rpc *jrpc2.Error
	if !errors.As(err, &rpc) || rpc.Code != codeTyped {
		return err
	}
	e := &replicator.Error{}
	if json.Unmarshal(rpc.Data, e) != nil {
		return errors.New(rpc.Message)
	}
	return e
}

// typed wraps a method so that its errors keep their type.
func typed[Req, Resp any](f func(context.Context, Req) (Resp, error)) func(context.Context, Req) (Resp, error) {
	return func(ctx context.Context, req Req) (Resp, error) {
		resp, err := f(ctx, req)
		return resp, encodeError(err)
	}
}
