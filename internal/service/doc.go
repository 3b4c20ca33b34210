// Package service keeps machines replicated as a configuration says: it finds out which
// machines there are, decides when each is synced and which first, runs the syncs, tries
// again what failed, keeps what became of them, and tells how everything stands.
//
// One goroutine, the loop, owns all of that and decides; it sleeps until something happens
// or is due. Everything that takes long, runs and looks at sources, has goroutines of its
// own, which tell the loop what came of it. What is decided, and when, are pure functions
// of what is known: fleet, past, due, judge, outcome, changes, and package schedule.
//
// Never are two runs of one replica under way at once. A machine that fails never keeps
// others from being synced. A configuration that is not sound changes nothing. The history
// decides when syncs run, never what they do: the truth about a replica is in its store,
// and locks there and on the source hold against runs that the service knows nothing of.
//
// The package must never touch a replica or a guest but through replicator.
package service
