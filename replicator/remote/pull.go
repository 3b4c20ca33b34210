package remote

import (
	"context"
	"errors"
	"slices"

	"github.com/creachadair/jrpc2"
	"github.com/creachadair/jrpc2/handler"

	"vmsync/replicator"
)

// pullMethods are what a controller needs that pulls machines from a source. It is a list of
// what is allowed: a method that is new is not, until somebody has thought about what a
// hostile client could do with it. None of these runs a command or takes a path.
var pullMethods = []string{
	methodHello, methodPing, methodClose,
	methodList, methodPeek, methodInspect, methodChanged, methodTake, methodBegin, methodReady, methodFreeze, methodCheckpoint, methodThaw, methodRelease,
	methodSent, methodHashed, methodFinish, methodAbandon,
}

// onlyPull has all other methods refused.
func onlyPull(all handler.Map) handler.Map {
	bounded := handler.Map{}
	for name, h := range all {
		if !slices.Contains(pullMethods, name) {
			h = refusePull
		}
		bounded[name] = h
	}
	return bounded
}

func refusePull(_ context.Context, r *jrpc2.Request) (any, error) {
	return nil, encodeError(&replicator.Error{Kind: replicator.KindDenied, Op: r.Method(),
		Hint: "reach the host through SSH for this", Err: errors.New("not for who comes over TLS")})
}
