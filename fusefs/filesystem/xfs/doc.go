// Package xfs reads XFS, versions 4 and 5, as Linux writes it. A log that was not unmounted
// is replayed in memory, over the device, which is never written.
//
// The layout is that of "XFS Algorithms & Data Structures"
// (https://mirrors.edge.kernel.org/pub/linux/utils/fs/xfs/docs/xfs_filesystem_structure.pdf);
// everything but the log's items is big-endian.
//
// The package must never show a state that the guest's kernel would not show: where it
// does not understand the log it refuses the whole filesystem, and where metadata does
// not match its checksum it refuses the file. Files on a realtime device, which is a
// second disk, are refused.
package xfs
