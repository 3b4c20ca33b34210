package partition

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vmsync/fusefs/device"
	"vmsync/fusefs/filesystem"
	"vmsync/fusefs/filesystem/fstest"
)

// disk makes a disk of size bytes whose table sfdisk makes.
func disk(t testing.TB, size int64, script string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	fstest.Run(t, "sh", "-c", `printf '%s' "$0" | sfdisk -q "$1"`, script, path)
	return path
}

// sfdisk is what sfdisk --json tells of a disk.
func sfdisk(t testing.TB, path string) map[int]Partition {
	t.Helper()
	var out struct {
		PartitionTable struct {
			Label      string
			Partitions []struct {
				Node             string
				Start, Size      int64
				Type, UUID, Name string
			}
		}
	}
	if err := json.Unmarshal([]byte(fstest.Run(t, "sfdisk", "--json", path)), &out); err != nil {
		t.Fatal(err)
	}
	all := map[int]Partition{}
	for _, p := range out.PartitionTable.Partitions {
		number := 0
		for _, c := range strings.TrimPrefix(p.Node, path) {
			number = number*10 + int(c-'0')
		}
		kind := strings.ToLower(p.Type)
		if out.PartitionTable.Label == "dos" {
			if kind == "5" || kind == "f" || kind == "85" {
				continue
			}
			kind = "0x" + strings.Repeat("0", 2-len(kind)) + kind
		}
		all[number] = Partition{Number: number, Start: p.Start * 512, Length: p.Size * 512, Type: kind, UUID: strings.ToLower(p.UUID), Name: p.Name}
	}
	return all
}

// compare holds a table against sfdisk's.
func compare(t *testing.T, path string) Table {
	t.Helper()
	table := read(t, path)
	want := sfdisk(t, path)
	if len(want) == 0 || len(table.Partitions) != len(want) {
		t.Fatalf("%d partitions, sfdisk has %d: %+v", len(table.Partitions), len(want), table)
	}
	for _, got := range table.Partitions {
		w := want[got.Number]
		got.TypeName = ""
		if w.UUID == "" {
			got.UUID = "" // of an MBR
		}
		if got != w {
			t.Errorf("partition %+v, sfdisk has %+v", got, w)
		}
	}
	return table
}

func read(t *testing.T, path string) Table {
	t.Helper()
	table, err := Read(fstest.Open(t, path))
	if err != nil {
		t.Fatal(err)
	}
	return table
}

const gptScript = `label: gpt
size=1MiB, type=21686148-6449-6E6F-744E-656564454649
size=16MiB, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name="EFI \303\244"
7: size=8MiB, name="a name of thirty-six characters long"
type=E6D6D379-F507-44C2-A23C-238F2A3DF928
`

func TestGPTIsAsSfdiskReadsIt(t *testing.T) {
	path := disk(t, 64<<20, gptScript)
	if table := compare(t, path); table.Kind != GPT || table.Partitions[1].TypeName != "EFI System" {
		t.Fatalf("%+v", table)
	}
}

func TestMBRWithLogicalPartitions(t *testing.T) {
	path := disk(t, 64<<20, `label: dos
size=4MiB, type=83, bootable
size=4MiB, type=82
size=40MiB, type=f
size=4MiB, type=8e
size=3MiB, type=83
size=5MiB, type=7
size=2MiB, type=83
size=1MiB, type=83
`)
	table := compare(t, path)
	if table.Kind != DOS || len(table.Partitions) != 7 || table.Partitions[3].Number != 5 {
		t.Fatalf("%+v", table)
	}
	uuid := strings.TrimSpace(fstest.Run(t, "sh", "-c", "sfdisk --disk-id "+path))
	if want := strings.TrimPrefix(uuid, "0x") + "-05"; table.Partitions[3].UUID != want {
		t.Errorf("UUID %s of %s", table.Partitions[3].UUID, want)
	}
}

func TestGPTOfLargeSectors(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk")
	fstest.Run(t, "truncate", "-s", "64M", path)
	fstest.Run(t, "sh", "-c", `printf 'g\nn\n1\n\n+8M\nn\n2\n\n\nw\n' | fdisk -b 4096 "$0"`, path)
	table := read(t, path)
	if table.SectorSize != 4096 || len(table.Partitions) != 2 {
		t.Fatalf("%+v", table)
	}
	for i, want := range []Partition{{Start: 1 << 20, Length: 8 << 20}, {Start: 9 << 20, Length: 54 << 20}} {
		// The last one ends before the backup table of 5 sectors, at a whole MiB.
		if got := table.Partitions[i]; got.Start != want.Start || got.Length > want.Length || got.Length < want.Length-1<<20 {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
}

func TestGPTBackupIsReadWhereTheFirstIsDamaged(t *testing.T) {
	for name, tt := range map[string]struct {
		off  int64 // of the damage
		size int64 // of the disk afterwards
	}{
		"header":                   {512 + 40, 64 << 20},
		"header, signature":        {512, 64 << 20},
		"entries":                  {1024 + 8, 64 << 20},
		"header, of a grown disk":  {512 + 60, 100 << 20},
		"entries, of a grown disk": {1024 + 8, 100 << 20},
		"nothing, of a grown disk": {0, 100 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			path := disk(t, 64<<20, gptScript)
			want := read(t, path)
			if tt.off > 0 {
				damage(t, path, tt.off)
			}
			if err := os.Truncate(path, tt.size); err != nil {
				t.Fatal(err)
			}
			got := read(t, path)
			if len(got.Partitions) != 4 {
				t.Fatalf("%+v", got)
			}
			for i := range got.Partitions {
				if got.Partitions[i] != want.Partitions[i] {
					t.Errorf("%+v, want %+v", got.Partitions[i], want.Partitions[i])
				}
			}
		})
	}
}

func damage(t *testing.T, path string, off int64) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	b := make([]byte, 1)
	if _, err := file.ReadAt(b, off); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0xff
	if _, err := file.WriteAt(b, off); err != nil {
		t.Fatal(err)
	}
}

func TestBothCopiesOfGPTDamaged(t *testing.T) {
	path := disk(t, 64<<20, gptScript)
	damage(t, path, 512+40)
	damage(t, path, 64<<20-512+40)
	if table, err := Read(fstest.Open(t, path)); !errors.Is(err, filesystem.ErrCorrupt) {
		t.Fatalf("%+v, %v", table, err)
	}
}

func TestHybridMBRIsReadAsGPT(t *testing.T) {
	path := disk(t, 64<<20, gptScript)
	fstest.Run(t, "sgdisk", "--hybrid", "2", path)
	if table := read(t, path); table.Kind != GPT || len(table.Partitions) != 4 {
		t.Fatalf("%+v", table)
	}
}

func TestStaleGPTBehindAnMBR(t *testing.T) {
	path := disk(t, 64<<20, gptScript)
	other := disk(t, 64<<20, "label: dos\nsize=4MiB\n")
	fstest.Run(t, "dd", "if="+other, "of="+path, "bs=512", "count=1", "conv=notrunc", "status=none")
	if table := read(t, path); table.Kind != DOS || len(table.Partitions) != 1 {
		t.Fatalf("%+v", table)
	}
}

func TestPartitionsOutsideOfTheDisk(t *testing.T) {
	for name, script := range map[string]string{GPT: gptScript, DOS: "label: dos\nsize=4MiB\nsize=50MiB\n"} {
		path := disk(t, 64<<20, script)
		if err := os.Truncate(path, 20<<20); err != nil {
			t.Fatal(err)
		}
		table := read(t, path)
		last := table.Partitions[len(table.Partitions)-1]
		if first := table.Partitions[0]; first.Err != nil || !errors.Is(last.Err, device.ErrOutOfRange) {
			t.Errorf("%s: %+v and %+v", name, first, last)
		}
	}
}

func TestFilesystemsOnWholeDisks(t *testing.T) {
	for name, mkfs := range map[string][]string{
		"vfat": {"mkfs.vfat", "-I"}, "ntfs": {"mkfs.ntfs", "-F", "-Q", "-q"}, "ext4": {"mkfs.ext4", "-q"},
		"fat12": {"mkfs.vfat", "-I", "-F", "12"}, "xfs": {"mkfs.xfs", "-q", "-f"},
	} {
		size := int64(32 << 20)
		if name == "xfs" {
			size = 320 << 20
		}
		if table := read(t, fstest.Make(t, size, mkfs...)); table.Kind != "" || len(table.Partitions) > 0 {
			t.Errorf("%s: %+v", name, table)
		}
	}
}

func TestChainOfBootRecordsThatGoesInCircles(t *testing.T) {
	const size = 1 << 20
	image := make([]byte, size)
	record := func(at int, entries ...[4]uint32) { // kind, start, count
		for i, e := range entries {
			raw := image[at+446+16*i:]
			raw[4] = byte(e[0])
			le.PutUint32(raw[8:], e[1])
			le.PutUint32(raw[12:], e[2])
		}
		image[at+510], image[at+511] = 0x55, 0xaa
	}
	record(0, [4]uint32{5, 8, 1000})
	record(8*512, [4]uint32{0x83, 1, 2}, [4]uint32{5, 16, 8})
	record(24*512, [4]uint32{0x83, 1, 2}, [4]uint32{5, 0, 8})
	table, err := Read(device.OfReaderAt(strings.NewReader(string(image)), size))
	if err != nil || len(table.Partitions) == 0 || len(table.Partitions) > maxPartitions {
		t.Fatalf("%d partitions, %v", len(table.Partitions), err)
	}
}
