// Package daemon puts a program into the background. Go programs cannot fork: the program
// starts itself a second time, and the first one waits until the second is ready, or
// has failed. Users see its error and its exit code.
package daemon
