package lvm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	"vmsync/fusefs/device"
	"vmsync/fusefs/filesystem"
)

// physicalVolume makes a device of a UUID of one letter, with a group's metadata.
func physicalVolume(uuid, metadata string) device.Device {
	le := binary.LittleEndian
	const area = 4096
	size := (mdaHeader + len(metadata) + 4095) &^ 4095
	image := make([]byte, area+size)
	label := image[sector : 2*sector]
	copy(label, "LABELONE")
	le.PutUint64(label[8:], 1)
	le.PutUint32(label[20:], 32)
	copy(label[24:], "LVM2 001")
	copy(label[32:], strings.Repeat(uuid, uuidSize))
	le.PutUint64(label[32+uuidSize+8+16:], area)
	le.PutUint64(label[32+uuidSize+8+24:], uint64(size))
	le.PutUint32(label[16:], checksum(label[20:]))
	header := image[area : area+mdaHeader]
	copy(header[4:], mdaMagic)
	le.PutUint32(header[20:], 1)
	le.PutUint64(header[24:], area)
	le.PutUint64(header[32:], uint64(size))
	le.PutUint64(header[40:], mdaHeader)
	le.PutUint64(header[48:], uint64(len(metadata)))
	le.PutUint32(header[56:], checksum([]byte(metadata)))
	le.PutUint32(header, checksum(header[4:]))
	copy(image[area+mdaHeader:], metadata)
	return device.OfReaderAt(bytes.NewReader(image), int64(len(image)))
}

// groupOf is the metadata of a group on the physical volume of a UUID of one letter.
func groupOf(name, uuid, volumes string) string {
	return fmt.Sprintf(`%s { id = "%s" seqno = 1 extent_size = 8 physical_volumes { pv0 { id = "%s" pe_start = 0 } } logical_volumes { %s } }`,
		name, name, strings.Repeat(uuid, uuidSize), volumes)
}

const oneVolume = `root { status = ["VISIBLE"] segment_count = 1 segment1 { start_extent = 0 extent_count = 1 type = "linear" stripe_count = 1 stripes = ["pv0", 0] } } `

func TestGroupOfTooManyVolumesIsRefused(t *testing.T) {
	var many strings.Builder
	for i := range maxVolumes {
		fmt.Fprintf(&many, `v%d { status = ["VISIBLE"] } `, i)
	}
	good := physicalVolume("A", groupOf("good", "A", oneVolume))
	bad := physicalVolume("B", groupOf("many", "B", many.String()))
	volumes, errs := Find([]Physical{{"vda", good}, {"vdb", bad}})
	if len(volumes) != 1 || volumes[0].Err != nil || volumes[0].Name != "root" {
		t.Errorf("%d volumes", len(volumes))
	}
	if len(errs) != 1 || !errors.Is(errs["vdb"], filesystem.ErrUnsupported) {
		t.Error(errs)
	}
}

func TestTooMuchMetadataIsRefused(t *testing.T) {
	comment := "#" + strings.Repeat("x", maxMetadata-4096) + "\n"
	var all []Physical
	for _, uuid := range []string{"A", "B", "C"} {
		all = append(all, Physical{uuid, physicalVolume(uuid, comment+groupOf("vg"+uuid, uuid, oneVolume))})
	}
	if volumes, errs := Find(all[:2]); len(volumes) != 2 || len(errs) != 0 {
		t.Errorf("%d volumes, %v", len(volumes), errs)
	}
	// Copies of the same do not count.
	if volumes, errs := Find([]Physical{all[0], all[0], all[0]}); len(volumes) != 1 || len(errs) != 0 {
		t.Errorf("%d volumes, %v", len(volumes), errs)
	}
	volumes, errs := Find(all)
	if len(volumes) != 0 || len(errs) != 3 || !errors.Is(errs["A"], filesystem.ErrUnsupported) {
		t.Errorf("%d volumes, %v", len(volumes), errs)
	}
}

// TestSnapshotsShareTheirBound has snapshots that keep what changed in the same place.
func TestSnapshotsShareTheirBound(t *testing.T) {
	store := make([]byte, 64<<10)
	for i, v := range []uint32{0x70416e53, 1, 1, 8} { // in chunks of 4 KiB
		binary.LittleEndian.PutUint32(store[4*i:], v)
	}
	for i := range uint64(3) {
		binary.LittleEndian.PutUint64(store[4096+16*i:], 2*i)
		binary.LittleEndian.PutUint64(store[4096+16*i+8:], 5-i)
	}
	const store1 = `segment_count = 1 segment1 { start_extent = 0 extent_count = 16 type = "linear" stripe_count = 1 stripes = ["pv0", 0] } } `
	var text strings.Builder
	text.WriteString("origin { status = [\"VISIBLE\"] " + store1)
	for i := range 3 {
		fmt.Fprintf(&text, `cow%d { %s snapshot%d { segment_count = 1 segment1 { type = "snapshot" origin = "origin" cow_store = "cow%d" } } `, i, store1, i, i)
	}
	g, err := parseGroup([]byte(groupOf("vg", "A", text.String())))
	if err != nil {
		t.Fatal(err)
	}
	pv := &physical{device: device.OfReaderAt(bytes.NewReader(store), int64(len(store)))}
	left := room{100, 1, 7}
	volumes, err := g.volumes(map[string][]*physical{strings.Repeat("A", uuidSize): {pv}}, &left)
	if err != nil {
		t.Fatal(err)
	}
	var readable []string
	for _, v := range volumes {
		if v.Err == nil {
			readable = append(readable, v.Name)
		}
	}
	if got := strings.Join(readable, " "); got != "cow0 cow1 origin" || left.runs != 1 {
		t.Errorf("%s can be read, and %d runs are left", got, left.runs)
	}
}
