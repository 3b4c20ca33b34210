package volume

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vmsync/fusefs/device"
	"vmsync/fusefs/filesystem"
	"vmsync/fusefs/filesystem/fstest"
)

// listing is what Find finds, in a line each.
func listing(volumes []Volume) []string {
	out := []string{}
	for _, v := range volumes {
		state := "ok"
		switch {
		case errors.Is(v.Err, ErrLocked):
			state = "locked"
		case errors.Is(v.Err, filesystem.ErrUnsupported):
			state = "unsupported"
		case errors.Is(v.Err, filesystem.ErrCorrupt):
			state = "damaged"
		case errors.Is(v.Err, device.ErrOutOfRange):
			state = "outside"
		case v.Err != nil:
			state = v.Err.Error()
		}
		if (v.Err == nil) != (v.Device != nil) {
			state += ", device and error do not agree"
		}
		if v.Encrypted {
			state += ", encrypted"
		}
		out = append(out, strings.TrimSpace(fmt.Sprintf("%s %q %s", v.Name, v.Kind, state)))
	}
	return out
}

func expect(t *testing.T, got []Volume, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, listing(got)); diff != "" {
		t.Fatalf("found (+):\n%s", diff)
	}
}

// image makes a file of size bytes and runs a shell script on it, which finds it as $0.
func image(t testing.TB, size, script string) string {
	t.Helper()
	fstest.NeedRoot(t)
	path := filepath.Join(t.TempDir(), "image")
	fstest.Run(t, "truncate", "-s", size, path)
	fstest.Run(t, "sh", "-ec", script, path)
	return path
}

// at puts an image into another.
func at(t testing.TB, path string, into string, mib int) {
	t.Helper()
	fstest.Run(t, "dd", "if="+path, "of="+into, "bs=1M", fmt.Sprintf("seek=%d", mib), "conv=notrunc,sparse", "status=none")
}

func TestPartitionsAndWholeDisks(t *testing.T) {
	vda := image(t, "64M", `printf 'label: gpt
size=8MiB, name=esp, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B
size=8MiB
size=32MiB
' | sfdisk -q "$0"`)
	at(t, image(t, "8M", `mkfs.vfat "$0"`), vda, 1)
	at(t, image(t, "32M", `mkfs.ext4 -q "$0"`), vda, 17)
	nvme := image(t, "32M", `printf 'label: dos
size=8MiB
size=20MiB, type=f
5: size=6MiB
' | sfdisk -q "$0"`)
	ext4 := image(t, "32M", `mkfs.ext4 -q "$0"`)
	vfat := image(t, "32M", `mkfs.vfat -I "$0"`)
	empty := image(t, "32M", "true")
	cut := image(t, "64M", `printf 'label: gpt
size=8MiB
size=40MiB
' | sfdisk -q "$0"; truncate -s 32M "$0"`)
	broken := image(t, "64M", `printf 'label: gpt
size=8MiB
' | sfdisk -q "$0"; dd if=/dev/zero of="$0" bs=512 seek=1 count=1 conv=notrunc status=none; truncate -s 32M "$0"`)
	var disks []Disk
	for _, d := range [][2]string{{"vda", vda}, {"nvme0n1", nvme}, {"vdb", ext4}, {"vdc", vfat}, {"vdd", empty}, {"vde", cut}, {"vdf", broken}} {
		disks = append(disks, Disk{d[0], fstest.Open(t, d[1])})
	}
	found := Find(disks, nil)
	expect(t, found,
		`vda1 "vfat" ok`, `vda2 "" ok`, `vda3 "ext4" ok`, `nvme0n1p1 "" ok`, `nvme0n1p5 "" ok`,
		`vdb "ext4" ok`, `vdc "vfat" ok`, `vdd "" ok`, `vde1 "" ok`, `vde2 "" outside`, `vdf "" damaged`)
	if v := found[0]; v.Disk != "vda" || v.Number != 1 || v.Label != "esp" || v.TypeName != "EFI System" || len(v.UUID) != 36 || v.Device.Size() != 8<<20 {
		t.Errorf("%+v", v)
	}
}

// physicalVolume makes a disk with a volume group "vg", and in it content in a logical
// volume "root" of two segments. LVM's own tools write what describes it.
func physicalVolume(t *testing.T, content []byte) string {
	t.Helper()
	path := image(t, "24M", `
loop=$(losetup -f --show "$0")
trap 'losetup -d $loop' EXIT
lvm() {
	LVM_SUPPRESS_FD_WARNINGS=1 command lvm "$@" --driverloaded n --config "backup{backup=0 archive=0} devices{use_devicesfile=0 filter=[\"a|$loop|\",\"r|.*|\"]}"
}
lvm pvcreate $loop
lvm vgcreate -s 1M vg $loop
lvm lvcreate -an -Zn -Wn -n root -l 2 vg
lvm lvcreate -an -Zn -Wn -n other-one -l 1 vg
lvm lvextend -l +2 vg/root`)
	if len(content) != 4<<20 {
		t.Fatal("content of another size than the volume")
	}
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	// The first extent is 1 MiB into the disk; "other-one" has the third.
	for off, piece := range map[int64][]byte{1 << 20: content[:2<<20], 4 << 20: content[2<<20:]} {
		if _, err := file.WriteAt(piece, off); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// Debian's encrypted layout: LUKS, which holds LVM.
func TestLogicalVolumesInLUKS(t *testing.T) {
	content, err := os.ReadFile(image(t, "4M", `mkfs.ext4 -q "$0"`))
	if err != nil {
		t.Fatal(err)
	}
	pv := physicalVolume(t, content)
	plain := []Disk{{"vda", fstest.Open(t, pv)}}
	expect(t, Find(plain, nil), `vda "LVM2_member" ok`, `vg-other--one "" ok`, `vg-root "ext4" ok`)

	encrypted := filepath.Join(t.TempDir(), "luks")
	fstest.EncryptLUKS1(t, pv, encrypted, "secret", "")
	disks := []Disk{{"vda", fstest.Open(t, encrypted)}}
	expect(t, Find(disks, nil), `vda "crypto_LUKS" locked`)
	expect(t, Find(disks, Keys{[]byte("wrong")}), `vda "crypto_LUKS" locked`)
	found := Find(disks, Keys{[]byte("wrong"), []byte("secret")})
	expect(t, found, `vda "LVM2_member" ok, encrypted`, `vg-other--one "" ok`, `vg-root "ext4" ok`)
	got, err := io.ReadAll(io.NewSectionReader(found[2].Device, 0, found[2].Device.Size()))
	if err != nil || !bytes.Equal(got, content) {
		t.Fatalf("%d bytes, %v, or other bytes", len(got), err)
	}
	// The same volume group twice is nobody's.
	expect(t, Find(append(disks, Disk{"vdb", plain[0].Device}), Keys{[]byte("secret")}),
		`vda "LVM2_member" ok, encrypted`, `vdb "LVM2_member" ok`, `vg-other--one "" damaged`, `vg-root "" damaged`)
}

// member makes the first of two members of a mirror: a superblock of version 1, at and data in
// sectors, and the role that it gives itself.
func member(t *testing.T, content []byte, at, data int64, role uint16) []byte {
	return memberOf(t, content, at, data, 0, 7, role, 1)
}

// memberOf makes a member of a number, which saw so many events, and says what roles there are.
func memberOf(t *testing.T, content []byte, at, data int64, number uint32, events uint64, roles ...uint16) []byte {
	t.Helper()
	image := make([]byte, max(data*512+int64(len(content)), (at+16)*512))
	copy(image[data*512:], content)
	sb := image[at*512:]
	le := binary.LittleEndian
	le.PutUint32(sb, 0xa92b4efc)
	le.PutUint32(sb[4:], 1)
	copy(sb[16:], "0123456789abcdef")
	copy(sb[32:], "host:data")
	le.PutUint32(sb[72:], 1)
	le.PutUint64(sb[80:], uint64(len(content)/512))
	le.PutUint32(sb[92:], 2)
	le.PutUint64(sb[128:], uint64(data))
	le.PutUint64(sb[136:], uint64(len(content)/512))
	le.PutUint64(sb[144:], uint64(at))
	le.PutUint32(sb[160:], number)
	le.PutUint64(sb[200:], events)
	le.PutUint64(sb[208:], ^uint64(0))
	le.PutUint32(sb[220:], 2)
	for i, role := range roles {
		le.PutUint16(sb[256+2*i:], role)
	}
	sum := uint64(0)
	for i := 0; i < 260; i += 4 {
		sum += uint64(le.Uint32(sb[i:]))
	}
	le.PutUint32(sb[216:], uint32(sum)+uint32(sum>>32))
	// mdadm's own reading of it is the judge of the superblock that this test makes.
	path := filepath.Join(t.TempDir(), "member")
	if err := os.WriteFile(path, image, 0o600); err != nil {
		t.Fatal(err)
	}
	out := fstest.Run(t, "mdadm", "--examine", path)
	for _, want := range []string{" - correct", "Raid Level : raid1", "host:data", fmt.Sprintf("Super Offset : %d sectors", at)} {
		if !strings.Contains(out, want) {
			t.Fatalf("mdadm does not say %q:\n%s", want, out)
		}
	}
	return image
}

// oldMember makes the first of two members of a mirror, with a superblock of version 0.90 in the
// last 64 KiB, and the state that it gives itself.
func oldMember(t *testing.T, content []byte, state uint32) []byte {
	return oldMemberOf(t, content, 0, 5, state, 6)
}

// oldMemberOf makes a member of a number, which saw so many events, and says what states there are.
func oldMemberOf(t *testing.T, content []byte, number, events uint32, states ...uint32) []byte {
	t.Helper()
	image := append(bytes.Clone(content), make([]byte, 64<<10)...)
	sb := image[len(content):]
	set := func(word int, value uint32) { binary.LittleEndian.PutUint32(sb[4*word:], value) }
	for word, value := range map[int]uint32{
		0: 0xa92b4efc, 2: 90, 5: 0x01234567, 7: 1, 8: uint32(len(content) / 1024), 9: 2, 10: 2, 13: 1, 14: 2, 15: 3, 33: 1, 34: 2, 35: 2, 39: events,
		128 + 4: states[0], 160: 1, 160 + 3: 1, 160 + 4: states[1], 992: number, 992 + 3: number, 992 + 4: states[number],
	} {
		set(word, value)
	}
	sum := uint64(0)
	for i := 0; i < 4096; i += 4 {
		sum += uint64(binary.LittleEndian.Uint32(sb[i:]))
	}
	set(38, uint32(sum)+uint32(sum>>32))
	path := filepath.Join(t.TempDir(), "member")
	if err := os.WriteFile(path, image, 0o600); err != nil {
		t.Fatal(err)
	}
	out := fstest.Run(t, "mdadm", "--examine", path)
	for _, want := range []string{" - correct", "Raid Level : raid1", "Version : 0.90.00", "01234567:00000001:00000002:00000003"} {
		if !strings.Contains(out, want) {
			t.Fatalf("mdadm does not say %q:\n%s", want, out)
		}
	}
	return image
}

func TestMirrorOfVersion0(t *testing.T) {
	content, err := os.ReadFile(image(t, "4M", `mkfs.ext4 -q "$0"`))
	if err != nil {
		t.Fatal(err)
	}
	const uuid = "01234567:00000001:00000002:00000003"
	found := Find([]Disk{{"vda", open(oldMember(t, content, 6))}}, nil)
	expect(t, found, `vda "linux_raid_member" ok`, `md-`+uuid+` "ext4" ok`)
	if d := found[1].Device; d.Size() != int64(len(content)) {
		t.Errorf("%d bytes, want %d", d.Size(), len(content))
	}
	// A spare, and one that failed, hold something else.
	for _, state := range []uint32{0, 1, 2} {
		if found := Find([]Disk{{"vda", open(oldMember(t, content, state))}}, nil); len(found) != 2 || found[1].Err == nil {
			t.Errorf("in state %d: %v", state, listing(found))
		}
	}
}

func open(image []byte) device.Device {
	return device.OfReaderAt(bytes.NewReader(image), int64(len(image)))
}

func TestMirrors(t *testing.T) {
	content, err := os.ReadFile(image(t, "4M", `mkfs.ext4 -q "$0"`))
	if err != nil {
		t.Fatal(err)
	}
	behind := int64(len(content)/512) + 2048
	for name, tt := range map[string]struct{ at, data int64 }{"1.1": {0, 2048}, "1.2": {8, 2048}, "1.0": {0, 0}} {
		if name == "1.0" {
			// At least 8 KiB before the end, at a whole 4 KiB.
			tt.at = behind
		}
		image := member(t, content, tt.at, tt.data, 0)
		found := Find([]Disk{{"vda", open(image)}, {"vdb", open(member(t, content, tt.at, tt.data, 0xfffe))}}, nil)
		if name == "1.0" {
			found = Find([]Disk{{"vda", open(image)}}, nil)
			expect(t, found, `vda "linux_raid_member" ok`, `md-data "ext4" ok`)
		} else {
			expect(t, found, `vda "linux_raid_member" ok`, `vdb "linux_raid_member" ok`, `md-data "ext4" ok`)
		}
		array := found[len(found)-1]
		if got, err := io.ReadAll(io.NewSectionReader(array.Device, 0, array.Device.Size())); err != nil || sha256.Sum256(got) != sha256.Sum256(content) {
			t.Errorf("%s: %v, or other bytes", name, err)
		}
	}
	alone := Find([]Disk{{"vda", open(member(t, content, 8, 2048, 0xfffe))}}, nil)
	if len(alone) != 2 || alone[1].Err == nil {
		t.Errorf("a failed member was taken: %+v", alone)
	}
}

// TestMemberThatFailedLastIsNotRead has the array stop right after it put its first member
// aside, which itself knows nothing of that.
func TestMemberThatFailedLastIsNotRead(t *testing.T) {
	stale, fresh := bytes.Repeat([]byte("old "), 1<<20), bytes.Repeat([]byte("new "), 1<<20)
	found := Find([]Disk{
		{"vda", open(memberOf(t, stale, 8, 2048, 0, 7, 0, 1))},
		{"vdb", open(memberOf(t, fresh, 8, 2048, 1, 8, 0xfffe, 1))},
	}, nil)
	expect(t, found, `vda "linux_raid_member" ok`, `vdb "linux_raid_member" ok`, `md-data "" ok`)
	got := make([]byte, 4)
	if _, err := found[2].Device.ReadAt(got, 0); err != nil || string(got) != "new " {
		t.Errorf("%q, %v", got, err)
	}
}

// TestOldMemberThatFailedLastIsNotRead is the same with version 0.90.
func TestOldMemberThatFailedLastIsNotRead(t *testing.T) {
	stale, fresh := bytes.Repeat([]byte("old "), 1<<20), bytes.Repeat([]byte("new "), 1<<20)
	found := Find([]Disk{
		{"vda", open(oldMemberOf(t, stale, 0, 5, 6, 6))},
		{"vdb", open(oldMemberOf(t, fresh, 1, 6, 1, 6))},
	}, nil)
	got := make([]byte, 4)
	if _, err := found[2].Device.ReadAt(got, 0); err != nil || string(got) != "new " {
		t.Errorf("%q, %v", got, err)
	}
}

// TestMirrorsOfOneName has two of them, both with partitions, on machines that were cloned.
func TestMirrorsOfOneName(t *testing.T) {
	content := make([]byte, 1<<20)
	binary.LittleEndian.PutUint32(content[446+8:], 8)
	binary.LittleEndian.PutUint32(content[446+12:], 100)
	content[446+4], content[510], content[511] = 0x83, 0x55, 0xaa
	first := member(t, content, 8, 2048, 0)
	second := bytes.Clone(first)
	uuid := second[8*512+16:] // with its words the other way round the checksum is the same
	copy(uuid, "45670123")
	var partitions []string
	for _, v := range Find([]Disk{{"vda", open(first)}, {"vdb", open(second)}}, nil) {
		if v.Number != 0 {
			partitions = append(partitions, fmt.Sprintf("%s %d of %s", v.Name, v.Number, v.Disk))
		}
	}
	if diff := cmp.Diff([]string{"md-data1 1 of md-data", "md-data_2p1 1 of md-data_2"}, partitions); diff != "" {
		t.Errorf("found (+):\n%s", diff)
	}
}

func TestNames(t *testing.T) {
	f := &finder{names: map[string]bool{}}
	for _, tt := range [][2]string{
		{mapperName("vg-a", "home"), "vg--a-home"}, {mapperName("vg", "a-home"), "vg-a--home"}, {"a/b\x00c", "a_b_c"}, {"..", "_.."},
		{"", "_"}, {"vda", "vda"}, {"vda", "vda_2"}, {"vda", "vda_3"}, {strings.Repeat("ä", 150), strings.Repeat("ä", 100)},
	} {
		if got := f.unique(tt[0]); got != tt[1] {
			t.Errorf("%q is called %q, want %q", tt[0], got, tt[1])
		}
	}
}
