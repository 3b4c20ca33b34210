// Package runid names runs. A run's id is in whatever is said of it: the service's log,
// history, API and metrics, the logs of the agents on both hosts, and --json.
package runid

import (
	"crypto/rand"
	"encoding/hex"
)

// New makes an id: 12 hex digits, random.
func New() string {
	var b [6]byte
	rand.Read(b[:]) // it does not fail
	return hex.EncodeToString(b[:])
}
