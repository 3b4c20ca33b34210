package partition

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"os"
	"testing"

	"vmsync/fusefs/device"
)

// FuzzRead changes bytes of a table and makes its checksums right again.
func FuzzRead(f *testing.F) {
	const size = 1 << 20
	var images [][]byte
	for _, script := range []string{gptScript, "label: dos\nsize=4MiB\nsize=40MiB, type=f\nsize=4MiB\n5: size=4MiB\nsize=4MiB\n"} {
		path := disk(f, 64<<20, script)
		image, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		images = append(images, image[:size])
	}
	f.Add(uint8(0), true, []byte{0, 2, 0})
	f.Add(uint8(1), false, []byte{1, 0xc0, 5})
	f.Fuzz(func(t *testing.T, which uint8, seal bool, edits []byte) {
		image := bytes.Clone(images[int(which)%len(images)][:40<<10])
		for ; len(edits) >= 3; edits = edits[3:] {
			image[int(binary.BigEndian.Uint16(edits))%len(image)] = edits[2]
		}
		if length := le.Uint32(image[512+12:]); seal && length <= 512 {
			if n := uint64(le.Uint32(image[512+80:])) * uint64(le.Uint32(image[512+84:])); n <= 32<<10 {
				le.PutUint32(image[512+88:], crc32.ChecksumIEEE(image[1024:1024+n]))
			}
			le.PutUint32(image[512+16:], 0)
			le.PutUint32(image[512+16:], crc32.ChecksumIEEE(image[512:512+length]))
		}
		d := device.OfReaderAt(bytes.NewReader(image), int64(len(image)))
		table, err := Read(d)
		if err != nil {
			return
		}
		if len(table.Partitions) > maxPartitions {
			t.Fatalf("%d partitions", len(table.Partitions))
		}
		for _, p := range table.Partitions {
			if p.Err == nil {
				if _, err := device.Section(d, p.Start, p.Length); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}
