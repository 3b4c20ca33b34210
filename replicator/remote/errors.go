package remote

import (
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
	return jrpc2.Errorf(codeTyped, "%s", err.Error()).WithData(replicator.AsError(err))
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
