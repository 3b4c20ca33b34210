// Package ext reads ext2, ext3 and ext4. A filesystem that was not unmounted is read as
// the kernel would show it after a mount: the journal is replayed in memory.
//
// It must never write, never trust a number it read from the device, and never show what
// the journal has made stale: where it cannot replay, it refuses.
//
// The layout is that of the kernel's Documentation/filesystems/ext4; everything on disk
// is little-endian, but for the journal, which is big-endian.
package ext
