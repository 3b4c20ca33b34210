package config

import (
	"time"

	"vmsync/internal/transport"
)

// Policy is what holds for one machine: all layers put together, complete and checked.
type Policy struct {
	Source string // the source's name in the configuration
	Domain string

	Schedule Schedule
	// MinChanged lets a run wait until so many bytes have changed since the head, but no
	// longer than MinChangedMaxAge after the head. Both are zero, or neither is.
	MinChanged       int64
	MinChangedMaxAge time.Duration

	Keep         string // in retention's text; empty leaves the replica's policy as it is
	Store        string // absolute path on the target
	TargetDomain string // the replica's name, never empty
	Disks        []string
	ExcludeDisks []string
	Compress     string // in spec.ParseCompression's text
	Transport    transport.Transport
	Rate         Rate

	Quiesce           Quiesce
	FreezeMountpoints []string // mount points in the guest; empty is all of them
	Before            []Hook   // shortly before the guest is frozen
	AfterCheckpoint   []Hook   // when it is thawed, or if that did not come about
	After             []Hook   // at the end of the run

	Notify []string // names in Config.Notifications; empty is nobody
	Group  string   // machines whose checkpoints are taken together; empty is none

	// From are the layers that this is made of, the strongest last.
	From []Layer
}

// Layer is a part of the file that settings come from.
type Layer struct {
	Name string `json:"name"` // "defaults", or the name or pattern of an entry of machines
	Line int    `json:"line"`
}

// Quiesce says whether the guest's filesystems are to be frozen for a checkpoint.
type Quiesce string

// Ways to quiesce.
const (
	QuiesceRequired  Quiesce = "required"  // without it the run fails
	QuiescePreferred Quiesce = "preferred" // where the guest's agent answers
	QuiesceNo        Quiesce = "no"
)

// Schedule says when a machine is synced, and what is promised of its replica's age. One
// of Every, Cron and RPO is set.
type Schedule struct {
	Every time.Duration // a run each so often, 5s to a year
	Cron  *Cron         // a run at these times
	RPO   time.Duration // continuous: runs are started so that no replica gets older; 1s to a year
	// MaxAge is the age of a replica from which on its promise is broken: RPO where that
	// is set. It is 0 with Cron where the file gives none, see [Policy.Deadline].
	MaxAge time.Duration
}

// Deadline is when a replica's promise is broken that was begun at head: MaxAge later; with
// Cron and no MaxAge, when the second run after it is due, so that one may fail. The zero
// time means never.
func (p *Policy) Deadline(head time.Time) time.Time {
	if p.Schedule.MaxAge > 0 || p.Schedule.Cron == nil {
		return head.Add(p.Schedule.MaxAge)
	}
	next := p.Schedule.Cron.Next(head.Add(p.MinChangedMaxAge))
	if next.IsZero() {
		return next
	}
	return p.Schedule.Cron.Next(next)
}
