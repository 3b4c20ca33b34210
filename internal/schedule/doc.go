// Package schedule decides when each machine is synced, and which first when not all can
// be at once. It is pure: it has no clock, starts nothing and keeps nothing; all of it is
// safe for use by many goroutines.
//
// The age of a replica counts from the start of the sync that made its head: what the
// guest wrote since is what would be lost. A replica whose source has not changed at all
// since some later look is as old as that look.
package schedule
