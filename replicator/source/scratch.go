package source

import (
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"

	"vmsync/internal/libvirt"
	"vmsync/replicator"
)

// minFree is the least free space that the file system of scratch files must keep,
// in bytes: time to end the job before qemu runs out and stops the guest.
const minFree = 64 << 20

// space is what a file system has, in bytes.
type space struct{ free, total uint64 }

// low says whether so little is free that the job must end.
func (s space) low() bool { return s.free < max(minFree, s.total/100) }

func spaceAt(dir string) (space, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return space{}, fmt.Errorf("free space of %s: %w", dir, err)
	}
	return space{free: st.Bavail * uint64(st.Bsize), total: st.Blocks * uint64(st.Bsize)}, nil
}

func (e *End) scratchFiles(b libvirt.Backup) []scratchFile {
	var files []scratchFile
	for _, d := range b.Disks {
		if !d.Excluded {
			files = append(files, scratchFile{disk: d.Name, path: d.Scratch, size: e.disks[d.Name].Size})
		}
	}
	return files
}

// checkScratch fails when one of the scratch files' file systems is nearly full.
func (e *End) checkScratch(files []scratchFile) error {
	seen := make(map[string]bool)
	for _, f := range files {
		dir := filepath.Dir(f.path)
		if seen[dir] {
			continue
		}
		seen[dir] = true
		s, err := spaceAt(dir)
		if err != nil {
			return e.fail("", "look for room for scratch files", "", err)
		}
		if s.low() {
			return e.scratchFull(files, dir, s)
		}
	}
	return nil
}

// scratchFull says how much is there and how much it may take.
func (e *End) scratchFull(files []scratchFile, dir string, s space) error {
	var most int64
	for _, f := range files {
		if filepath.Dir(f.path) == dir {
			most += f.size
		}
	}
	return &replicator.Error{Kind: replicator.KindScratchFull, Domain: e.dom.Name, Op: "keep what the guest overwrites during the copy",
		Hint: fmt.Sprintf("free some space: the scratch files take as much as the guest overwrites during a sync, at most %s", mib(uint64(most))),
		Err:  fmt.Errorf("only %s are free in %s, the least is %s", mib(s.free), dir, mib(max(minFree, s.total/100)))}
}

func mib(bytes uint64) string { return fmt.Sprintf("%d MiB", bytes>>20) }
