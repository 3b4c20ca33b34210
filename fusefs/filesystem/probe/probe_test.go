package probe

import (
	"bytes"

	"os/exec"

	"strings"
	"testing"

	"vmsync/fusefs/device"
	"vmsync/fusefs/filesystem/fstest"
)

// blkid is what libblkid says of an image.
func blkid(t *testing.T, path string) string {
	t.Helper()
	out, err := exec.Command("blkid", "-p", "-s", "TYPE", "-o", "value", path).Output()
	if err != nil && len(out) > 0 {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

func TestKindIsAsBlkidSays(t *testing.T) {
	const small, large = 32 << 20, 320 << 20
	for name, tt := range map[string]struct {
		want string
		size int64
		mkfs []string
	}{
		"ext2":         {Ext2, small, []string{"mkfs.ext2", "-q"}},
		"ext3":         {Ext3, small, []string{"mkfs.ext3", "-q"}},
		"ext4":         {Ext4, small, []string{"mkfs.ext4", "-q"}},
		"ext4 of 1 KB": {Ext4, small, []string{"mkfs.ext4", "-q", "-b", "1024", "-O", "^has_journal"}},
		"xfs":          {XFS, large, []string{"mkfs.xfs", "-q", "-f"}},
		"btrfs":        {Btrfs, large, []string{"mkfs.btrfs", "-q", "-f"}},
		"fat12":        {VFAT, small, []string{"mkfs.vfat", "-F", "12"}},
		"fat16":        {VFAT, small, []string{"mkfs.vfat", "-F", "16"}},
		"fat32":        {VFAT, 64 << 20, []string{"mkfs.vfat", "-F", "32"}},
		"ntfs":         {NTFS, small, []string{"mkfs.ntfs", "-F", "-Q", "-q"}},
		"swap":         {Swap, small, []string{"mkswap", "-q"}},
		"lvm":          {LVM, small, []string{"sh", "-c", `printf 'LABELONE\001\0\0\0\0\0\0\0....\040\0\0\0LVM2 001' | dd of="$0" bs=512 seek=1 conv=notrunc status=none`}},
		"luks1":        {LUKS, small, []string{"sh", "-c", `echo x | cryptsetup luksFormat -q --type luks1 --pbkdf-force-iterations 1000 "$0"`}},
		"luks2":        {LUKS, small, []string{"sh", "-c", `echo x | cryptsetup luksFormat -q --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 "$0"`}},
		"empty":        {"", small, []string{"true"}},
		"partitioned": {"", small, []string{"sh", "-c", `echo 'label: dos
size=1MiB' | sfdisk -q "$0"`}},
	} {
		t.Run(name, func(t *testing.T) {
			path := fstest.Make(t, tt.size, tt.mkfs...)
			got, err := Kind(fstest.Open(t, path))
			if err != nil || got != tt.want {
				t.Errorf("%q, %v, want %q", got, err, tt.want)
			}
			// The hand-made label has no checksum, without which blkid does not take it.
			if said := blkid(t, path); got != said && name != "lvm" {
				t.Errorf("%q, blkid says %q", got, said)
			}
		})
	}
}

// set returns a device of size bytes with pieces at their offsets.
func set(size int, pieces map[int]string) device.Device {
	image := make([]byte, size)
	for off, piece := range pieces {
		copy(image[off:], piece)
	}
	return device.OfReaderAt(bytes.NewReader(image), int64(size))
}

func TestKindsBySuperblock(t *testing.T) {
	const mdSuper = "\xfc\x4e\x2b\xa9\x01\x00\x00\x00"
	for name, tt := range map[string]struct {
		want   string
		pieces map[int]string
	}{
		"squashfs":                    {"squashfs", map[int]string{0: "hsqs", 12: "\x00\x00\x02\x00", 28: "\x04\x00"}},
		"iso9660":                     {ISO9660, map[int]string{32768: "\x01CD001\x01"}},
		"udf":                         {UDF, map[int]string{32769: "BEA01", 34817: "NSR03"}},
		"zfs":                         {"zfs_member", map[int]string{16384: "\x01\x01", 16384 + 20: "\x00\x00\x00\x07version"}},
		"bcachefs":                    {"bcachefs", map[int]string{4120: "\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef"}},
		"f2fs":                        {"f2fs", map[int]string{1024: "\x10\x20\xf5\xf2", 1040: "\x0c"}},
		"bitlocker":                   {BitLocker, map[int]string{3: "-FVE-FS-", 510: "\x55\xaa"}},
		"refs":                        {ReFS, map[int]string{3: "ReFS\x00\x00\x00\x00"}},
		"mirror 1.2":                  {RAID, map[int]string{4096: mdSuper, 4096 + 144: "\x08"}},
		"mirror 1.0, old ext4 inside": {RAID, map[int]string{1<<20 - 8192: mdSuper, 1<<20 - 8192 + 144: "\xf0\x07", 1080: "\x53\xef", 1024: "\x10", 1064: "\x10"}},
		"mirror 0.90":                 {RAID, map[int]string{1<<20 - 65536: "\xfc\x4e\x2b\xa9\x00\x00\x00\x00"}},
		"md magic elsewhere":          {"", map[int]string{4096: mdSuper, 4096 + 144: "\x09"}},
		"boot code":                   {"", map[int]string{0: "\xeb\x63\x90", 510: "\x55\xaa"}},
		"magic of ext alone":          {"", map[int]string{1080: "\x53\xef"}},
		"magic of xfs alone":          {"", map[int]string{0: "XFSB"}},
	} {
		if got, err := Kind(set(1<<20, tt.pieces)); got != tt.want || err != nil {
			t.Errorf("%s: %q, %v, want %q", name, got, err, tt.want)
		}
	}
}

func TestTinyDevices(t *testing.T) {
	for _, size := range []int{0, 1, 511, 512, 4096, 65536} {
		if got, err := Kind(set(size, nil)); got != "" || err != nil {
			t.Errorf("%d bytes: %q, %v", size, got, err)
		}
	}
}

func FuzzKind(f *testing.F) {
	f.Add([]byte("hsqs"), uint32(0))
	f.Add([]byte("XFSB\x00\x00\x10\x00"), uint32(0))
	f.Add([]byte("\x53\xef"), uint32(1080))
	f.Fuzz(func(t *testing.T, piece []byte, off uint32) {
		if _, err := Kind(set(80<<10, map[int]string{int(off % (80 << 10)): string(piece)})); err != nil {
			t.Fatal(err)
		}
	})
}
