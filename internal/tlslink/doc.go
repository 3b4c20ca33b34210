// Package tlslink connects a controller with a source host that it reaches over TLS
// instead of SSH: both ends of a connection, from TCP up to the point where each side knows
// who the other is and what the connection is for.
//
// After the handshake, TLS 1.3 with a certificate on both sides, the client writes one
// line of JSON, a [Request], and the server answers with one, a [Reply]. What follows is
// the caller's.
//
// The package must never hand on a connection of somebody whose certificate is not of
// the authority, valid, and on the list; nor take memory or wait without a bound for
// somebody who is not known yet.
package tlslink

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// alpn is the protocol's name and version in the handshake: neither side goes on with
// another one.
const alpn = "vmsync/1"

// patience is how long either side waits for the other to come to the point.
const patience = 10 * time.Second

// maxLine bounds a request and a reply, in bytes.
const maxLine = 4 << 10

// Purpose is what a connection is for.
type Purpose string

// The purposes.
const (
	Agent  Purpose = "agent"  // to talk with an agent that is started for it
	Stream Purpose = "stream" // to take the stream of such an agent's run
)

// Request is what a client wants.
type Request struct {
	Purpose Purpose `json:"purpose"`
	// Session says whose stream is wanted, see Reply.
	Session string `json:"session,omitempty"`
}

// Reply is the server's answer.
type Reply struct {
	// Session is the name of an agent that was started, and a secret.
	Session string `json:"session,omitempty"`
	// Refused says in words why the client does not get what it wants.
	Refused string `json:"refused,omitempty"`
}

// writeLine and readLine exchange a value.
func writeLine(w io.Writer, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(b) >= maxLine {
		return errors.New("message too long")
	}
	_, err = w.Write(append(b, '\n'))
	return err
}

// readLine takes no byte more than the line: what follows is not its own. TLS has a
// buffer below it.
func readLine(r io.Reader, v any) error {
	var line [maxLine]byte
	for n := range line {
		if _, err := io.ReadFull(r, line[n:n+1]); err != nil {
			return err
		}
		if line[n] == '\n' {
			if err := json.Unmarshal(line[:n], v); err != nil {
				return fmt.Errorf("not understood: %w", err)
			}
			return nil
		}
	}
	return errors.New("message too long")
}
