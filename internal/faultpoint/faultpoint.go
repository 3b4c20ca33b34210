// Package faultpoint names points of the program where a test can kill or delay
// it. In a normal build a point is nothing at all: [Hit] is empty and inlined away.
//
// Built with the tag "faultpoints", Hit does what the environment variable
// VMSYNC_FAULT or the file /run/vmsync-fault says (the file reaches agents that
// SSH starts, which inherit no environment; both are read at every hit). Each is a
// list, separated by commas or white space, of
//
//	NAME=kill             SIGKILL to this process
//	NAME=sleep:DURATION   sleep, e.g. sleep:1500ms
//	NAME=wait:FILE        create FILE.hit, then block until FILE exists
//	NAME=hold:FILE        create FILE, then block until it is gone; each time anew
//
// The package must never be used for anything but tests: no behaviour of a release
// may depend on it.
package faultpoint
