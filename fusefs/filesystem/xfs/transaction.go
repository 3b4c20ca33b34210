package xfs

import "encoding/binary"

// le is the byte order of the log's items, that of the machine that wrote them.
var le = binary.LittleEndian

// Flags of the operations in a record.
const (
	opStart    = 0x01
	opCommit   = 0x02
	opContinue = 0x04 // the region goes on in the next record
	opWasCont  = 0x08 // the region has begun in the record before
	opEnd      = 0x10
	opUnmount  = 0x20

	opHeader          = 12
	transactionHeader = 16
	transactionMagic  = 0x5452414e // "TRAN"
	clientTransaction = 0x69
	clientLog         = 0xaa
	maxRegions        = 512
	// maxPending bounds the transactions that are read and not committed yet, in bytes.
	maxPending = 256 << 20
)

// transaction is what a checkpoint of the log changes.
type transaction struct {
	lsn    uint64 // of the record it begins in
	header []byte
	items  []*item
	size   int
}

// item is one change: a description, then what is described.
type item struct {
	regions [][]byte
	total   int
}

func (i *item) kind() uint16 { return le.Uint16(i.regions[0]) }

// assembler puts transactions together from the operations of records, which those of
// several transactions may share.
type assembler struct {
	open    map[uint32]*transaction
	pending int
	commit  func(*transaction) error
}

// run goes through the records at blocks and calls commit for each transaction that was committed, in order.
func (j *journal) run(blocks []int, commit func(*transaction) error) error {
	a := &assembler{open: map[uint32]*transaction{}, commit: commit}
	for _, block := range blocks {
		r, err := j.record(block)
		if err != nil {
			return err
		}
		if r == nil {
			return needsReplay("the record at block %d of the log", block)
		}
		if format := be.Uint32(r.header[300:]); format != formatLinuxLE {
			return needsReplay("the log is of format %d", format)
		}
		if !r.uuidOK(j.sb) {
			return needsReplay("the record at block %d of the log is another filesystem's", r.block)
		}
		b, err := j.data(r)
		if err != nil {
			return err
		}
		if err := r.unpack(b); err != nil {
			return err
		}
		if err := a.record(r, b[:r.length]); err != nil {
			return err
		}
	}
	return nil
}

// record takes in the operations of a record.
func (a *assembler) record(r *record, b []byte) error {
	for range r.ops {
		if len(b) == 0 {
			break
		}
		if len(b) < opHeader {
			return needsReplay("the record at block %d of the log ends early", r.block)
		}
		id, length, client, flags := be.Uint32(b), be.Uint32(b[4:]), b[8], b[9]
		if client != clientTransaction && client != clientLog || uint64(length) > uint64(len(b)-opHeader) {
			return needsReplay("the record at block %d of the log has an operation of client %#x and %d bytes", r.block, client, length)
		}
		region := b[opHeader : opHeader+length]
		b = b[opHeader+length:]
		if err := a.operation(r, id, flags, region); err != nil {
			return err
		}
	}
	return nil
}

func (a *assembler) operation(r *record, id uint32, flags byte, region []byte) error {
	t, ok := a.open[id]
	if !ok {
		// Without its begin, a transaction is from before the tail.
		if flags&opStart != 0 {
			a.open[id] = &transaction{lsn: r.lsn}
		}
		return nil
	}
	flags &^= opEnd
	if flags&opWasCont != 0 {
		flags &^= opContinue
	}
	switch flags {
	case 0, opContinue, opWasCont:
		t.size += len(region)
		a.pending += len(region)
		if a.pending > maxPending {
			return needsReplay("it has transactions of more than %d MiB", maxPending>>20)
		}
		return t.add(region, flags == opWasCont)
	case opCommit:
		delete(a.open, id)
		a.pending -= t.size
		if !t.whole() {
			return needsReplay("transaction %#x of the log is not whole", id)
		}
		return a.commit(t)
	case opUnmount:
		return nil
	}
	return needsReplay("the record at block %d of the log has an operation with the flags %#x", r.block, flags)
}

// add takes in a region, or the rest of the last one.
func (t *transaction) add(region []byte, rest bool) error {
	if len(t.header) < transactionHeader {
		if len(region) == 0 {
			return nil
		}
		t.header = append(t.header, region...)
		if len(t.header) > transactionHeader || len(t.header) >= 4 && le.Uint32(t.header) != transactionMagic {
			return needsReplay("a transaction of the log has no header")
		}
		return nil
	}
	if rest {
		if len(t.items) == 0 {
			return needsReplay("a transaction of the log begins in the middle")
		}
		last := t.items[len(t.items)-1]
		n := len(last.regions) - 1
		last.regions[n] = append(last.regions[n], region...)
		return nil
	}
	if len(region) == 0 {
		return nil
	}
	region = append([]byte(nil), region...)
	if n := len(t.items); n > 0 && len(t.items[n-1].regions) < t.items[n-1].total {
		t.items[n-1].regions = append(t.items[n-1].regions, region)
		return nil
	}
	// Each description begins with the item's kind and the number of its regions.
	if len(region) < 4 {
		return needsReplay("a transaction of the log has an item of %d bytes", len(region))
	}
	total := int(le.Uint16(region[2:]))
	if total == 0 || total > maxRegions {
		return needsReplay("a transaction of the log has an item of %d regions", total)
	}
	t.items = append(t.items, &item{regions: [][]byte{region}, total: total})
	return nil
}

// whole says whether every item has all its regions.
func (t *transaction) whole() bool {
	for _, item := range t.items {
		if len(item.regions) != item.total {
			return false
		}
	}
	return true
}
