// Package store keeps the files of replicas on the target: one folder per
// replica, with its images, its domain XML and one manifest that says what is
// what.
//
// Nothing but the manifest decides what a state is. A file that the manifest
// does not name is debris of a run that died; [Folder.Debris] finds it. The
// manifest changes only by [Folder.Save], which replaces it atomically and
// durably: after a crash at any instant it is either the old or the new one,
// whole.
//
// The package must never run a program, talk to libvirt or parse disk data.
// docs/STORE.md describes the format.
package store
