package main

import "time"

// benchCase is one thing to measure.
type benchCase struct {
	name   string // for -run
	about  string
	rounds int // unless the user says otherwise
	run    func(b *bench, rounds int) ([]row, error)
}

func cases() []benchCase {
	return []benchCase{
		{"full", "full sync of 4 GiB with 1.5 GiB of data, no limit", 3, fullCase(noLink, 1.0)},
		{"full-1gbit", "the same at 1 Gbit/s", 3, fullCase(gigabit, 0.68)},
		{"full-100mbit-40ms", "the same at 100 Mbit/s, 40 ms round trip", 1, fullCase(slowLink, 0.66)},
		{"scattered-100mbit-40ms", "incremental of 20,000 scattered extents of 64 KiB that do not compress", 1, scatteredCase},
		{"idle", "incremental of two disks, nothing changed", 3, idleCase},
		{"memory", "peak memory with a disk of 1 TiB", 1, memoryCase},
		{"fuse-read", "read a disk in the mounted tree, in order and at random", 3, fuseReadCase},
		{"fuse-tree", "tar of 20,000 files of the mounted tree", 3, fuseTreeCase},
		{"fuse-store", "mount a store of 50 domains with 100 states each", 5, fuseStoreCase},
		{"daemon-idle", "the service with 100 machines of which none changes", 1, daemonIdleCase},
		{"continuous", "a guest that writes 10 MiB/s, rpo: 5s", 1, continuousCase},
		{"guest-cost", "a guest's writes with and without continuous replication", 3, guestCostCase},
		{"proxy", "nbdcopy to null: through the NBD proxy", 3, proxyCase},
	}
}

const (
	mib = 1 << 20
	gib = 1 << 30
	tib = 1 << 40
)

// idleGoal is what an incremental run may take in which nothing changed.
const idleGoal = 2 * time.Second
