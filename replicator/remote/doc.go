// Package remote puts the two ends of a replication on other hosts: an agent
// serves one end over its stdin and stdout, and a controller uses it through
// the same interface as a local one.
//
// The protocol is JSON-RPC 2.0, one message per line. The controller says hello
// first; an agent of another protocol version is refused. The controller pings
// every [pingEvery]; an agent that hears nothing for [silence], or whose stdin
// closes, ends what it began and exits. A controller that hears nothing for
// [silence] gives up on the agent. A call that the controller waits for no more is
// canceled at the agent, which runs one method at a time: others may follow.
//
// The package must never decide anything about a replication.
package remote

import (
	"time"

	"vmsync/replicator"
)

// protocol is the version of the messages between controller and agent.
const protocol = 5

// How often the controller pings, and how long either side bears silence.
const (
	pingEvery = 5 * time.Second
	silence   = 30 * time.Second
)

// Method names.
const (
	methodHello    = "hello"
	methodPing     = "ping"
	methodClose    = "close"
	methodProgress = "progress" // notification from the agent

	methodList       = "source.list"
	methodPeek       = "source.peek"
	methodInspect    = "source.inspect"
	methodChanged    = "source.changed"
	methodTake       = "source.takeknown"
	methodBegin      = "source.begin"
	methodReady      = "source.ready"
	methodFreeze     = "source.freeze"
	methodCheckpoint = "source.checkpoint"
	methodThaw       = "source.thaw"
	methodRelease    = "source.release"
	methodSent       = "source.wait"
	methodHashed     = "source.hashed"
	methodFinish     = "source.finish"
	methodAbandon    = "source.abandon"

	methodOpen     = "target.open"
	methodPrepare  = "target.prepare"
	methodKnown    = "target.known"
	methodReceived = "target.wait"
	methodCommit   = "target.commit"
	methodSettle   = "target.settle"
)

// Role says which end an agent is.
type Role string

// The two ends.
const (
	RoleSource Role = "source"
	RoleTarget Role = "target"
)

type hello struct {
	Protocol int  `json:"protocol"`
	Role     Role `json:"role"`
}

type peekRequest struct {
	Marks []replicator.Mark `json:"marks"`
}

type changedRequest struct {
	Checkpoint string `json:"checkpoint"`
}

type finishRequest struct {
	Drop []string `json:"drop"`
}
