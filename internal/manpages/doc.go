// Package manpages makes vmsync's manual pages when it is built: those of commands from
// the commands themselves, the others from the Markdown of docs/, so that nothing is said
// twice. Pages depend on nothing but what they are made from: no time, no machine.
//
// It is linked into programs only with the build tag docs. It must never be part of one
// that is installed.
package manpages
