// Package btrfs reads btrfs filesystems: one or more devices, every single, mirrored or
// striped profile, subvolumes and snapshots, compression, and the changes that were
// fsynced after the last commit (the log tree).
//
// What it shows is what the guest's kernel would show after mounting the filesystem
// without options: the default subvolume, and below it whatever other subvolumes lie
// there. Metadata is always verified by its checksum, and data wherever the filesystem
// keeps checksums for it; a copy that fails is replaced by another one where the profile
// has more than one. What cannot be verified is an error, as it is for the kernel.
//
// It must never write, and never trust: every length, offset and pointer comes from a
// guest. Memory is bounded by the cache sizes in reader.go, the number of chunks
// (maxChunks), and the size of a replayed log (maxOverlay).
//
// The format is described in the btrfs documentation, "On-disk Format"
// (https://btrfs.readthedocs.io/en/latest/dev/On-disk-format.html), which the comments
// call [format].
package btrfs
