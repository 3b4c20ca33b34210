// Package retention decides which states of a replica are kept: it reads a keep
// policy ([Parse]) and applies it to the times of the states there are
// ([Policy.Keep]). It is pure: no files, no clock, no global state, and all of it
// is safe for use by many goroutines.
//
// The rules are those that restic's forget and borg's prune have made known, with
// these particulars:
//
//   - As with restic, a state may satisfy several rules, and each counts it: with
//     last=1,daily=1 one state is enough for both. borg's rules count only what the
//     finer ones did not keep, so its daily=7 reaches further back than this one.
//   - As with both, the newest state of an hour, day, week, month or year stands for
//     it, and units without any state don't count.
//   - Unlike with both, the newest state is kept by any policy: it is the replica.
//   - Neither restic's extra, to keep the oldest state as long as a rule has not
//     found its number, nor borg's alike is there: pruning may go on after each new
//     state, and a rule fills up by itself as its units go by.
//   - Days begin at midnight in the location given, UTC by default: then what is kept
//     does not depend on which host prunes, and no hour comes twice or is missing.
//
// Pruning after each new state keeps exactly what a single prune at the end of all
// of them would, whatever the clock did between. For a rule keeps the units that were used
// last, each with its newest state; that state is there as long as its unit is among
// them, and no unit comes back once it has dropped out, unless with a new state.
package retention
