// Package replicator runs one replication of one domain: it looks at both ends,
// decides what to do, and drives the ends through it.
//
// The three parts are apart. [Decide] is a pure function from what is seen to a
// [Plan]. [Sync] drives a [SourceEnd] and a [TargetEnd] through the plan and
// knows only those interfaces. The ends do the work on their hosts; they live
// in the packages source and target, and in remote where they are on another
// host.
//
// [Send] and [Receive] are the two halves of [Sync] for hosts that do not talk to
// each other, with [DecideSend] and [DecideReceive] for their plans: the stream goes
// through a pipe or a file, and its header says what the source would have said.
//
// What must hold, whatever dies and whenever: a state is listed only when all
// of its disks are complete, flushed and verified; the source's parent
// checkpoint goes only after the target's new state is durable; nothing of a
// run that failed needs a person to clean it up.
//
// The package must never talk to libvirt, SSH or qemu itself.
package replicator
