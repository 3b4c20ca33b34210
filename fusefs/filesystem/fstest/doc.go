// Package fstest holds filesystem readers against the kernel: it makes images with the
// ordinary mkfs programs, fills them through a loop mount with whatever is hard to get
// right, and compares what a reader shows with what the kernel shows.
//
// It is for tests alone, which run as root on a machine whose kernel knows the
// filesystem.
package fstest
