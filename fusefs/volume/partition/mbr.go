package partition

import (
	"encoding/binary"
	"fmt"

	"vmsync/fusefs/device"
)

// Types of MBR entries that are no partitions of their own.
const (
	protective = 0xee
	extendedA  = 0x05
	extendedB  = 0x0f
	extendedC  = 0x85
)

const (
	firstLogical = 5
	// maxEmpty is how many extended boot records without a partition may follow each other.
	maxEmpty = 100
)

// entry is one of the four of a boot record.
type entry struct {
	boot, kind   byte
	start, count uint64 // sectors
}

func (e entry) extended() bool {
	return e.count > 0 && (e.kind == extendedA || e.kind == extendedB || e.kind == extendedC)
}

func entries(record []byte) [4]entry {
	var out [4]entry
	for i := range out {
		raw := record[446+16*i:]
		out[i] = entry{
			boot: raw[0], kind: raw[4],
			start: uint64(binary.LittleEndian.Uint32(raw[8:])),
			count: uint64(binary.LittleEndian.Uint32(raw[12:])),
		}
	}
	return out
}

func signed(record []byte) bool { return record[510] == 0x55 && record[511] == 0xaa }

// readMBR reads the four primary partitions and, in their order, the logical ones of each
// that is extended. An MBR does not say what its sectors are: they are taken for 512 bytes.
func readMBR(disk device.Device, mbr []byte) (Table, error) {
	table := Table{Kind: DOS, SectorSize: 512}
	id := binary.LittleEndian.Uint32(mbr[440:])
	primary := entries(mbr)
	for _, e := range primary {
		if e.boot != 0 && e.boot != 0x80 {
			return Table{}, nil // code, or something else that happens to be signed
		}
	}
	add := func(number int, e entry) {
		p := Partition{
			Number: number, Type: fmt.Sprintf("0x%02x", e.kind), TypeName: mbrType(e.kind),
			UUID: fmt.Sprintf("%08x-%02x", id, number),
		}
		p.place(disk, e.start, e.count, table.SectorSize)
		table.Partitions = append(table.Partitions, p)
	}
	for i, e := range primary {
		if e.count > 0 && e.kind != 0 && !e.extended() {
			add(i+1, e)
		}
	}
	next := firstLogical
	for _, e := range primary {
		if !e.extended() {
			continue
		}
		err := logical(disk, e, func(e entry) bool {
			add(next, e)
			next++
			return next < maxPartitions
		})
		if err != nil {
			return Table{}, err
		}
	}
	if len(table.Partitions) == 0 && next == firstLogical && primary == [4]entry{} {
		return Table{}, nil // boot code alone
	}
	return table, nil
}

// logical follows the chain of boot records in an extended partition. Each holds a partition
// that begins relative to the record itself, and the way to the next record, relative to the
// extended partition.
func logical(disk device.Device, extended entry, add func(entry) bool) error {
	const sectorSize = 512
	at, size := extended.start, extended.count
	for empty := 0; empty < maxEmpty; empty++ {
		if at >= uint64(disk.Size())/sectorSize {
			return nil
		}
		record, err := readAt(disk, int64(at*sectorSize), 512)
		if err != nil {
			return err
		}
		if !signed(record) {
			return nil
		}
		all := entries(record)
		for i, e := range all {
			if e.count == 0 || e.kind == 0 || e.extended() {
				continue
			}
			e.start += at
			// The last two are not used by most systems, and may hold anything.
			if i >= 2 && (e.start-at+e.count > size || e.start < extended.start || e.start+e.count > extended.start+extended.count) {
				continue
			}
			if !add(e) {
				return nil
			}
			empty = -1
		}
		i := 0
		for i < len(all) && !all[i].extended() {
			i++
		}
		if i == len(all) {
			return nil
		}
		at, size = extended.start+all[i].start, all[i].count
	}
	return nil
}
