// Package powerloss tests what is left of a folder when the power goes while a
// program works on it.
//
// A [Recorder] shows a folder through a file system (FUSE) that passes everything on
// and writes down what changes: writes, truncations, allocated and punched ranges,
// creations, renames, links, removals, and what was synced. From the [Log] of a
// run that went well, [Log.Explore] makes the folders that a power cut could have left at
// any point of it, and has a function look at each: does the program recover, and is
// what it had promised there?
//
//	rec := powerloss.Record(t, folder)     // what is in there is durable
//	save(rec.Dir(), state1)                // or any program working in that folder
//	rec.Mark("saved state1")               // a promise
//	log := rec.Stop()
//	log.Explore(t, powerloss.Options{}, func(c powerloss.Crash) error {
//		// recover in c.Dir, compare with what c.Marks promise
//	})
//
// # The model
//
// A crash comes between two recorded operations. What was synced before it is there:
// writes to a file before an fsync of the file; names made, moved or removed in a folder
// before an fsync of the folder. Everything else is the file system's choice:
//
//   - A write may be there, or not, or only some of its sectors of 512 or 4096 bytes, or
//     only the size it gave the file, with zeros for data; each for itself, whatever
//     the order they were issued in, in the same file or others.
//   - A truncation, allocation or punched hole may be there or not.
//   - What happened to a folder's names is there up to some point and not from there on
//     (a journal of metadata, as those of ext4 and XFS, keeps at least that order). A rename
//     between two folders is one step of both. Half of the random crashes are worse and
//     lose single renames, creations and removals, as POSIX allows.
//   - An fsync of a file does not make its name durable, nor that of a folder the
//     folder's own. Most file systems do more than they must; nothing relies on it here.
//
// So a program that passes is safe on more than one file system. This is how ALICE finds
// the crash states that file systems may leave, and CrashMonkey tests real ones:
//
//   - Pillai et al., All File Systems Are Not Created Equal: On the Complexity of Crafting
//     Crash-Consistent Applications, OSDI '14 (ALICE).
//   - Mohan et al., Finding Crash-Consistency Bugs with Bounded Black-Box Crash Testing,
//     OSDI '18 (CrashMonkey and ACE).
//
// Explored are: every boundary with everything issued before it in place, and with nothing
// but what was synced; each operation that is at stake lost or torn alone; all
// of a file or folder lost alone, or kept alone; and random mixtures. Where that is
// more than there is time for, a seeded sample is taken. Folders that come out alike are
// checked once. A crash that fails is shrunk to what must be lost for it to fail.
//
// # Limits
//
// Not in the model: damage to what was durable, stale data of deleted files in new ones,
// a rename of which only one half is there, disks that lie about flushes, lost errors of
// fsync. Owners, modes, times and extended attributes are passed on and not recorded. A
// page that a program changed through a shared mapping counts as written when the kernel
// writes it back, which it does for msync and fsync at the latest. Symbolic links,
// devices and swapping renames are refused. Images' backing files have to be named
// relative to the image: crashes are rebuilt elsewhere.
//
// The tests need root and /dev/fuse and are skipped without. The file system runs in a
// process of its own, this program started again, so that the process under test may map
// its files and fork like any other.
package powerloss
