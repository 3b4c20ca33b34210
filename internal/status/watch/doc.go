// Package watch is `vmsync status --watch`: how machines stand, live on a terminal.
//
// A [Model] is all that is known and chosen; [Model.Update] makes the next one of a message,
// and [Model.View] the lines of the screen. Both are pure. [Run] is what feeds them: one
// request a second for how everything stands, whatever the number of machines, one stream of
// events, and the past runs once for each connection. [Lines] is for where there is no
// terminal.
//
// What is shown comes from other hosts; what a terminal would take for a command is escaped.
// The package must never have the service do anything.
package watch
