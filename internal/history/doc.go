// Package history keeps what became of each run of each machine, and what the next one
// depends on: when the replica was last fresh, how long syncs take, how many failed in a
// row. It is one file, a bbolt database with JSON values; docs/HISTORY.md describes it.
//
// A run is written when it begins and again when it has ended, each time durably, so that
// one that was killed is known as such afterwards. The file is bounded: so many runs of a
// machine are kept, of so long.
//
// It must never decide what is done with a replica: a file that is lost or damaged costs
// the past, nothing else. The truth about states is in the store.
package history
