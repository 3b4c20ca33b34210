package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"vmsync/fusefs/filesystem/fstest"
	"vmsync/tests/lab"
)

// A guestVolume is a filesystem of a machine that is made and changed on the test's own
// machine, in an image of its own, and lies on the machine's disks in pieces.
type guestVolume struct {
	name   string // as under files/
	kind   string
	image  string
	pieces []piece
	mkfs   []string
	at     string // where it is mounted
}

// piece is a range of a disk that a range of a volume lies on.
type piece struct {
	disk           string
	offset, length int64 // bytes
}

const extentSize = 4 * mib // of the volume group

// guestDisks are a machine's disks: a partition table, a filesystem on a whole disk, a volume
// group of two disks, and their images as they were put on the machine last.
type guestDisks struct {
	sizes   map[string]int64
	raw     map[string]string // image of each disk, without the volumes' content
	volumes []*guestVolume
	last    map[string]string
}

func makeGuestDisks(t *testing.T) *guestDisks {
	t.Helper()
	g := &guestDisks{
		sizes: map[string]int64{"vda": 256 * mib, "vdb": 320 * mib, "vdc": 64 * mib, "vdd": 64 * mib, "vde": 64 * mib},
		raw:   map[string]string{}, last: map[string]string{},
	}
	for disk, size := range g.sizes {
		g.raw[disk] = rawFile(t, disk, size)
	}
	fstest.Run(t, "sgdisk", "-n", "1:2048:+40M", "-t", "1:ef00", "-n", "2:0:+180M", "-n", "3:0:+8M", "-t", "3:8200", g.raw["vda"])
	makeVolumeGroup(t, g.raw["vdc"], g.raw["vdd"])
	ext4 := []string{"mkfs.ext4", "-q", "-F"}
	var striped []piece
	for off := int64(0); off < 4*extentSize; off += 64 << 10 {
		striped = append(striped, piece{"vdc", mib + 10*extentSize + off, 64 << 10}, piece{"vdd", mib + off, 64 << 10})
	}
	g.volumes = []*guestVolume{
		{name: "vda1", kind: "vfat", mkfs: []string{"mkfs.vfat", "-F", "32", "-n", "EFI"}, pieces: []piece{{"vda", mib, 40 * mib}}},
		{name: "vda2", kind: "ext4", mkfs: ext4, pieces: []piece{{"vda", 41 * mib, 180 * mib}}},
		{name: "vda3", kind: "swap", mkfs: []string{"mkswap", "-q"}, pieces: []piece{{"vda", 221 * mib, 8 * mib}}},
		{name: "vdb", kind: "xfs", mkfs: []string{"mkfs.xfs", "-q"}, pieces: []piece{{"vdb", 0, 320 * mib}}},
		{name: "guest-root", kind: "ext4", mkfs: ext4, pieces: []piece{{"vdc", mib, 10 * extentSize}}},
		{name: "guest-data", kind: "ext4", mkfs: ext4, pieces: striped},
		{name: "vde", kind: "ntfs", mkfs: []string{"mkfs.ntfs", "-q", "-Q", "-F"}, pieces: []piece{{"vde", 0, 64 * mib}}},
	}
	for _, v := range g.volumes {
		v.image = rawFile(t, v.name, v.size())
		fstest.Run(t, append(v.mkfs, v.image)...)
	}
	return g
}

// makeVolumeGroup makes the volume group "guest" of two disks: "root" in one piece, on the
// first ten extents of one, and "data" in stripes over both. Nothing is given to the kernel.
func makeVolumeGroup(t *testing.T, first, second string) {
	t.Helper()
	config := `devices { filter=["a|^/dev/loop|","r|.*|"] use_devicesfile=0 } backup { backup=0 archive=0 } activation { udev_sync=0 udev_rules=0 }`
	var loops []string
	for _, image := range []string{first, second} {
		loop := strings.TrimSpace(fstest.Run(t, "losetup", "-f", "--show", image))
		defer fstest.Run(t, "losetup", "-d", loop)
		loops = append(loops, loop)
	}
	fstest.Run(t, "pvcreate", "--config", config, "-y", loops[0], loops[1])
	fstest.Run(t, "vgcreate", "--config", config, "-y", "guest", loops[0], loops[1])
	create := []string{"lvcreate", "--config", config, "--driverloaded", "n", "-an", "-Zn", "-Wn", "-y"}
	fstest.Run(t, append(create, "-l", "10", "-n", "root", "guest", loops[0])...)
	fstest.Run(t, append(create, "-l", "8", "-i", "2", "-I", "64k", "-n", "data", "guest")...)
}

func (v *guestVolume) size() (sum int64) {
	for _, p := range v.pieces {
		sum += p.length
	}
	return sum
}

// open gives a folder in which the volume's files can be changed, until close.
func (v *guestVolume) open(t *testing.T) string {
	t.Helper()
	if v.at != "" {
		return v.at
	}
	v.at = t.TempDir()
	if v.kind == "ntfs" {
		fstest.Run(t, "ntfs-3g", "-o", "big_writes", v.image, v.at)
	} else {
		fstest.Run(t, "mount", "-o", "loop", v.image, v.at)
	}
	t.Cleanup(func() { exec.Command("umount", v.at).Run() })
	return v.at
}

func (v *guestVolume) close(t *testing.T) {
	t.Helper()
	if v.at != "" {
		fstest.Run(t, "umount", v.at)
		v.at = ""
	}
}

// disks are the machine's, for its definition.
func (g *guestDisks) disks() (specs []lab.DiskSpec) {
	for _, disk := range []string{"vda", "vdb", "vdc", "vdd", "vde"} {
		specs = append(specs, qcow2(disk, g.sizes[disk]))
	}
	return specs
}

// put makes the machine's disks read as the volumes are now. Of a filesystem that is
// mounted that is what is on its disk at this moment.
func (g *guestDisks) put(t *testing.T, m *lab.Machine) {
	t.Helper()
	now := map[string]string{}
	for disk, image := range g.raw {
		now[disk] = filepath.Join(t.TempDir(), disk)
		fstest.Run(t, "cp", "--sparse=always", image, now[disk])
	}
	for _, v := range g.volumes {
		spread(t, v, now)
	}
	for disk, image := range now {
		putDisk(t, m, disk, image, g.last[disk])
	}
	g.last = now
}

// spread copies a volume to the images of the disks that it lies on.
func spread(t *testing.T, v *guestVolume, disks map[string]string) {
	t.Helper()
	each(t, v, func(name string) string { return disks[name] }, os.O_RDWR, func(image, disk *os.File, at int64, p piece) error {
		return copyRange(disk, p.offset, image, at, p.length)
	})
}

// gather puts a volume together again from raw images of the disks, in a file of its own,
// anew.
func gather(t *testing.T, v *guestVolume, file string, disk func(name string) string) {
	t.Helper()
	if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Truncate(file, v.size())); err != nil {
		t.Fatal(err)
	}
	to := *v
	to.image = file
	each(t, &to, disk, os.O_RDONLY, func(image, disk *os.File, at int64, p piece) error {
		return copyRange(image, at, disk, p.offset, p.length)
	})
}

func each(t *testing.T, v *guestVolume, path func(string) string, mode int, f func(image, disk *os.File, at int64, p piece) error) {
	t.Helper()
	image, err := os.OpenFile(v.image, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer image.Close()
	open := map[string]*os.File{}
	var at int64
	for _, p := range v.pieces {
		if open[p.disk] == nil {
			if open[p.disk], err = os.OpenFile(path(p.disk), mode, 0); err != nil {
				t.Fatal(err)
			}
			defer open[p.disk].Close()
		}
		if err := f(image, open[p.disk], at, p); err != nil {
			t.Fatal(err)
		}
		at += p.length
	}
}

// copyRange copies what is not zero.
func copyRange(to *os.File, toOff int64, from *os.File, off, length int64) error {
	const step = 64 << 10
	b := make([]byte, step)
	for done := int64(0); done < length; done += step {
		n := min(step, length-done)
		if _, err := from.ReadAt(b[:n], off+done); err != nil {
			return fmt.Errorf("%s at %d: %w", from.Name(), off+done, err)
		}
		if allZero(b[:n]) {
			continue
		}
		if _, err := to.WriteAt(b[:n], toOff+done); err != nil {
			return err
		}
	}
	return nil
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
