// Package lvm reads LVM2: it finds the physical volumes among devices, reads the newest
// description of each volume group that they hold, and makes devices of the logical volumes.
//
// It must never take an old description for the newest, read a physical volume that the
// group calls missing, or show a volume whose newest data may be somewhere that it cannot
// read, as in a cache.
package lvm
